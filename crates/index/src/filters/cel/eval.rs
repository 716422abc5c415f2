//! Evaluates a compiled expression for one flow, in a bounded number of steps.

use std::cell::Cell;

use super::op::{Comparison, Op, Quantifier, Search};
use super::read::Source;
use super::value::{Failed, Value};

/// Operations, and pieces of 64 bytes of texts, that one evaluation may take: some microseconds.
const MAX_STEPS: usize = 1024;

type Result<T> = std::result::Result<T, Failed>;

/// Evaluates an expression.
pub(super) fn evaluate(op: &Op, source: Source<'_>) -> Result<bool> {
    let left = Cell::new(MAX_STEPS);
    Scope { source, left: &left, variables: None }.value(op)?.boolean()
}

/// A variable of a macro, and those around it.
struct Variable<'s> {
    value: Value<'s>,
    outer: Option<&'s Variable<'s>>,
}

#[derive(Clone, Copy)]
struct Scope<'s> {
    source: Source<'s>,
    left: &'s Cell<usize>,
    variables: Option<&'s Variable<'s>>,
}

impl<'s> Scope<'s> {
    fn spend(&self, steps: usize) -> Result<()> {
        self.left.set(self.left.get().checked_sub(steps).ok_or(Failed)?);
        Ok(())
    }

    fn two(&self, parts: &'s [Op; 2]) -> Result<[Value<'s>; 2]> {
        let [one, other] = parts;
        let values = [self.value(one)?, self.value(other)?];
        self.spend(values.iter().map(Value::weight).sum())?;
        Ok(values)
    }

    fn value(&self, op: &'s Op) -> Result<Value<'s>> {
        self.spend(1)?;
        Ok(match op {
            Op::Null => Value::Null,
            Op::Bool(is) => Value::Bool(*is),
            Op::Int(number) => Value::Int(*number),
            Op::Uint(number) => Value::Uint(*number),
            Op::Double(number) => Value::Double(*number),
            Op::Text(text) => Value::text(text),
            Op::Get(get) => self.source.get(*get),
            Op::Message(_) => Value::Message,
            Op::Present(message) => Value::Bool(self.source.has(*message)),
            Op::IsSet(part) => Value::Bool(self.value(part)?.is_set()),
            Op::Part(pair, place) => match self.value(pair)? {
                Value::Pair(one, other) => Value::Text(if *place == 0 { one } else { other }),
                _ => return Err(Failed),
            },
            Op::Variable(within) => {
                let mut variables = std::iter::successors(self.variables, |variable| variable.outer);
                let value = &variables.nth(*within).ok_or(Failed)?.value;
                self.spend(value.weight())?;
                value.clone()
            }
            Op::List(parts) => Value::List(parts.iter().map(|part| self.value(part)).collect::<Result<_>>()?),
            Op::And(parts) => Value::Bool(self.logic(parts, false)?),
            Op::Or(parts) => Value::Bool(self.logic(parts, true)?),
            Op::Not(part) => Value::Bool(!self.value(part)?.boolean()?),
            Op::Negate(part) => self.value(part)?.negated()?,
            Op::Choice(parts) => {
                let [condition, then, otherwise] = &**parts;
                self.value(if self.value(condition)?.boolean()? { then } else { otherwise })?
            }
            Op::Compare(comparison, parts) => {
                let [one, other] = self.two(parts)?;
                Value::Bool(compared(*comparison, &one, &other))
            }
            Op::In(parts) => {
                let [wanted, list] = &**parts;
                let wanted = self.value(wanted)?;
                let mut found = false;
                self.each(list, &mut |_, value| {
                    self.spend(value.weight())?;
                    found = value.equals(&wanted);
                    Ok(!found)
                })?;
                Value::Bool(found)
            }
            Op::Arithmetic(arithmetic, parts) => {
                let [one, other] = self.two(parts)?;
                one.calculated(*arithmetic, other)?
            }
            Op::Index(parts) => match self.two(parts)? {
                [Value::List(mut values), Value::Int(place)] => {
                    let place = usize::try_from(place).ok().filter(|place| *place < values.len()).ok_or(Failed)?;
                    values.swap_remove(place)
                }
                _ => return Err(Failed),
            },
            Op::Size(part) => {
                let value = self.value(part)?;
                self.spend(value.weight())?;
                Value::Int(value.size()?)
            }
            Op::Search(search, parts) => match self.two(parts)? {
                [Value::Text(text), Value::Text(wanted)] => {
                    let (text, wanted) = (text.as_str(), wanted.as_str());
                    Value::Bool(match search {
                        Search::Contains => text.contains(wanted),
                        Search::StartsWith => text.starts_with(wanted),
                        Search::EndsWith => text.ends_with(wanted),
                    })
                }
                _ => return Err(Failed),
            },
            Op::Matches(part, pattern) => match self.value(part)? {
                Value::Text(text) => {
                    self.spend(text.as_str().len() / 16)?;
                    Value::Bool(pattern.is_match(text.as_str().as_bytes()))
                }
                _ => return Err(Failed),
            },
            Op::Convert(target, part) => self.value(part)?.converted(*target)?,
            Op::Quantify(quantifier, parts) => Value::Bool(self.quantified(*quantifier, parts)?),
            Op::Map(parts) => self.mapped(parts)?,
            Op::Filter(parts) => self.filtered(parts)?,
        })
    }

    /// `&&` and `||`: the one value that decides counts even if another part fails.
    fn logic(&self, parts: &'s [Op], decides: bool) -> Result<bool> {
        let mut result = Ok(!decides);
        for part in parts {
            match self.value(part).and_then(|value| value.boolean()) {
                Ok(is) if is == decides => return Ok(decides),
                Ok(_) => {}
                Err(failed) => result = Err(failed),
            }
        }
        result
    }

    /// Calls `each` for the elements of a list until it returns false. A list that is a field is
    /// not built.
    fn each(&self, list: &'s Op, each: &mut dyn for<'i> FnMut(Scope<'i>, &Value<'i>) -> Result<bool>) -> Result<()> {
        if let Op::Get(get) = list
            && let Some(items) = self.source.items(*get)
        {
            let mut result = Ok(());
            items.visit(|value| match self.with(value, each) {
                Ok(goes_on) => goes_on,
                Err(failed) => {
                    result = Err(failed);
                    false
                }
            });
            return result;
        }
        if let Op::List(parts) = list {
            for part in parts {
                if !self.with(self.value(part)?, each)? {
                    return Ok(());
                }
            }
            return Ok(());
        }
        let Value::List(values) = self.value(list)? else { return Err(Failed) };
        for value in values {
            if !self.with(value, each)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Calls `each` with an element as the innermost variable.
    fn with<'i>(
        &self,
        value: Value<'i>,
        each: &mut dyn for<'x> FnMut(Scope<'x>, &Value<'x>) -> Result<bool>,
    ) -> Result<bool>
    where
        's: 'i,
    {
        let variable = Variable { value, outer: self.variables };
        each(Scope { source: self.source, left: self.left, variables: Some(&variable) }, &variable.value)
    }

    fn quantified(&self, quantifier: Quantifier, parts: &'s [Op; 2]) -> Result<bool> {
        let [list, body] = parts;
        let (mut found, mut failed) = (0, None);
        self.each(list, &mut |inner, _| {
            match inner.value(body).and_then(|value| value.boolean()) {
                Ok(is) => found += usize::from(is == (quantifier != Quantifier::All)),
                // One element that decides makes up for others that fail, as in `||`.
                Err(one) => failed = Some(one),
            }
            Ok(quantifier == Quantifier::ExistsOne || found == 0)
        })?;
        match (quantifier, found, failed) {
            (Quantifier::All, 1.., _) => Ok(false),
            (Quantifier::Exists, 1.., _) => Ok(true),
            (_, _, Some(failed)) => Err(failed),
            (Quantifier::All, ..) => Ok(true),
            (Quantifier::Exists, ..) => Ok(false),
            (Quantifier::ExistsOne, found, None) => Ok(found == 1),
        }
    }

    fn mapped(&self, parts: &'s [Op; 2]) -> Result<Value<'s>> {
        let [list, body] = parts;
        let mut values = Vec::new();
        self.each(list, &mut |inner, _| {
            values.push(inner.value(body)?.into_owned());
            Ok(true)
        })?;
        Ok(Value::List(values))
    }

    fn filtered(&self, parts: &'s [Op; 2]) -> Result<Value<'s>> {
        let [list, body] = parts;
        let mut values = Vec::new();
        self.each(list, &mut |inner, value| {
            if inner.value(body)?.boolean()? {
                values.push(value.clone().into_owned());
            }
            Ok(true)
        })?;
        Ok(Value::List(values))
    }
}

fn compared(comparison: Comparison, one: &Value<'_>, other: &Value<'_>) -> bool {
    let order = || one.order(other);
    match comparison {
        Comparison::Equal => one.equals(other),
        Comparison::NotEqual => !one.equals(other),
        Comparison::Less => order().is_some_and(std::cmp::Ordering::is_lt),
        Comparison::LessOrEqual => order().is_some_and(std::cmp::Ordering::is_le),
        Comparison::Greater => order().is_some_and(std::cmp::Ordering::is_gt),
        Comparison::GreaterOrEqual => order().is_some_and(std::cmp::Ordering::is_ge),
    }
}
