//! Parts of an expression with their types: checks operators and functions.

use regex::bytes::Regex;

use super::error::ExpressionError;
use super::op::{Arithmetic, Comparison, Op, Search, Target};
use super::types::Type;
use crate::filters::re2::{self, RegexBudget};

/// Levels of a compiled expression at most, which bounds the stack of compiler and evaluation.
const MAX_HEIGHT: usize = 64;

/// A part of an expression.
#[derive(Debug)]
pub(super) struct Typed {
    pub(super) op: Op,
    pub(super) kind: Type,
    /// Offset in the text, in bytes.
    pub(super) at: usize,
    height: usize,
}

impl Typed {
    /// A part without parts.
    pub(super) fn leaf(op: Op, kind: Type, at: usize) -> Self {
        Self { op, kind, at, height: 1 }
    }
}

/// Makes parts from parts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Builder<'a> {
    pub(super) text: &'a str,
    /// Memory for the patterns of `matches`.
    pub(super) budget: &'a RegexBudget,
}

type Result<T = Typed> = std::result::Result<T, ExpressionError>;

impl Builder<'_> {
    pub(super) fn wrong<T>(self, at: usize, why: impl Into<String>) -> Result<T> {
        Err(ExpressionError::at(self.text, at, why))
    }

    /// A part over others of which the highest has this height.
    pub(super) fn over(self, height: usize, op: Op, kind: Type, at: usize) -> Result {
        if height >= MAX_HEIGHT {
            return self.wrong(at, format!("the expression has more than {MAX_HEIGHT} levels"));
        }
        Ok(Typed { op, kind, at, height: height + 1 })
    }

    pub(super) fn one(self, part: Typed, kind: Type, at: usize, op: impl FnOnce(Box<Op>) -> Op) -> Result {
        self.over(part.height, op(Box::new(part.op)), kind, at)
    }

    pub(super) fn two(self, parts: [Typed; 2], kind: Type, at: usize, op: impl FnOnce(Box<[Op; 2]>) -> Op) -> Result {
        let height = parts.iter().map(|part| part.height).max().unwrap_or(0);
        self.over(height, op(Box::new(parts.map(|part| part.op))), kind, at)
    }

    fn no_overload<T>(self, function: &str, kinds: &[&Type], is_method: bool, at: usize) -> Result<T> {
        let names: Vec<String> = kinds.iter().map(ToString::to_string).collect();
        let applied = match names.split_first() {
            Some((target, rest)) if is_method => format!("{target}.({})", rest.join(", ")),
            _ => format!("({})", names.join(", ")),
        };
        self.wrong(at, format!("found no matching overload for '{function}' applied to '{applied}'"))
    }

    /// Parts of which all are boolean, joined by `op`.
    pub(super) fn logic(self, parts: Vec<Typed>, name: &str, at: usize, op: impl FnOnce(Vec<Op>) -> Op) -> Result {
        if let Some(wrong) = parts.iter().position(|part| !part.kind.is_bool()) {
            let kinds = parts.get(wrong.saturating_sub(1)..=wrong.max(1)).unwrap_or(&parts);
            return self.no_overload(name, &kinds.iter().map(|part| &part.kind).collect::<Vec<_>>(), false, at);
        }
        let height = parts.iter().map(|part| part.height).max().unwrap_or(0);
        self.over(height, op(parts.into_iter().map(|part| part.op).collect()), Type::Bool, at)
    }

    pub(super) fn not(self, part: Typed, at: usize) -> Result {
        if !part.kind.is_bool() {
            return self.no_overload("!_", &[&part.kind], false, at);
        }
        self.one(part, Type::Bool, at, Op::Not)
    }

    pub(super) fn negate(self, part: Typed, at: usize) -> Result {
        if !matches!(part.kind, Type::Int | Type::Double | Type::Any) {
            return self.no_overload("-_", &[&part.kind], false, at);
        }
        let kind = part.kind.clone();
        self.one(part, kind, at, Op::Negate)
    }

    pub(super) fn choice(self, parts: [Typed; 3], at: usize) -> Result {
        let [condition, then, otherwise] = &parts;
        let is_message = |part: &Typed| matches!(part.kind, Type::Message(_));
        if is_message(then) || is_message(otherwise) {
            return self.wrong(at, "a choice between messages is not supported: choose between their fields");
        }
        if !condition.kind.is_bool() || !then.kind.fits(&otherwise.kind) {
            return self.no_overload("_?_:_", &[&condition.kind, &then.kind, &otherwise.kind], false, at);
        }
        let kind = if then.kind == Type::Any { otherwise.kind.clone() } else { then.kind.clone() };
        let height = parts.iter().map(|part| part.height).max().unwrap_or(0);
        self.over(height, Op::Choice(Box::new(parts.map(|part| part.op))), kind, at)
    }

    pub(super) fn compare(self, comparison: Comparison, name: &str, parts: [Typed; 2], at: usize) -> Result {
        let [left, right] = &parts;
        let is_ordered =
            |kind: &Type| matches!(kind, Type::Bool | Type::Int | Type::Uint | Type::Double | Type::Text | Type::Any);
        let is_equality = matches!(comparison, Comparison::Equal | Comparison::NotEqual);
        let fits = left.kind.fits(&right.kind) && (is_equality || is_ordered(&left.kind) && is_ordered(&right.kind));
        if !fits {
            return self.no_overload(name, &[&left.kind, &right.kind], false, at);
        }
        self.two(parts, Type::Bool, at, |parts| Op::Compare(comparison, parts))
    }

    pub(super) fn within(self, parts: [Typed; 2], at: usize) -> Result {
        let [element, list] = &parts;
        if !matches!(&list.kind, Type::List(of) if of.fits(&element.kind)) {
            return self.no_overload("@in", &[&element.kind, &list.kind], false, at);
        }
        self.two(parts, Type::Bool, at, Op::In)
    }

    pub(super) fn arithmetic(self, arithmetic: Arithmetic, name: &str, parts: [Typed; 2], at: usize) -> Result {
        let [left, right] = &parts;
        let kind = if left.kind == Type::Any { right.kind.clone() } else { left.kind.clone() };
        let fits = match kind {
            Type::Int | Type::Uint => true,
            Type::Double => arithmetic != Arithmetic::Modulo,
            Type::Text | Type::List(_) => arithmetic == Arithmetic::Add,
            _ => false,
        };
        if !fits || !left.kind.fits(&right.kind) {
            return self.no_overload(name, &[&left.kind, &right.kind], false, at);
        }
        self.two(parts, kind, at, |parts| Op::Arithmetic(arithmetic, parts))
    }

    pub(super) fn index(self, parts: [Typed; 2], at: usize) -> Result {
        let [list, position] = &parts;
        match &list.kind {
            Type::List(of) if matches!(position.kind, Type::Int | Type::Any) => {
                let kind = (**of).clone();
                self.two(parts, kind, at, Op::Index)
            }
            _ => self.no_overload("_[_]", &[&list.kind, &position.kind], false, at),
        }
    }

    pub(super) fn list(self, parts: Vec<Typed>, at: usize) -> Result {
        let kind = parts.first().map_or(Type::Any, |first| first.kind.clone());
        if let Some(other) = parts.iter().find(|part| !part.kind.fits(&kind)) {
            return self.wrong(other.at, format!("expected {kind} as the elements before, found {}", other.kind));
        }
        let height = parts.iter().map(|part| part.height).max().unwrap_or(0);
        self.over(height, Op::List(parts.into_iter().map(|part| part.op).collect()), Type::List(Box::new(kind)), at)
    }

    /// A call of a function; of a method, whose target is the first of its parts.
    pub(super) fn call(self, name: &str, mut parts: Vec<Typed>, is_method: bool, at: usize) -> Result {
        let kinds: Vec<Type> = parts.iter().map(|part| part.kind.clone()).collect();
        let search = match name {
            "contains" => Some(Search::Contains),
            "startsWith" => Some(Search::StartsWith),
            "endsWith" => Some(Search::EndsWith),
            _ => None,
        };
        let target = match name {
            "int" => Some((Target::Int, Type::Int)),
            "uint" => Some((Target::Uint, Type::Uint)),
            "double" => Some((Target::Double, Type::Double)),
            "string" => Some((Target::Text, Type::Text)),
            "bool" => Some((Target::Bool, Type::Bool)),
            _ => None,
        };
        if let (Some(search), true, [Type::Text | Type::Any, Type::Text | Type::Any]) = (search, is_method, &*kinds)
            && let (Some(wanted), Some(within)) = (parts.pop(), parts.pop())
        {
            return self.two([within, wanted], Type::Bool, at, |parts| Op::Search(search, parts));
        }
        if let ("matches", [Type::Text | Type::Any, Type::Text | Type::Any]) = (name, &*kinds)
            && let (Some(pattern), Some(within)) = (parts.pop(), parts.pop())
        {
            let pattern = self.pattern(&pattern)?;
            return self.one(within, Type::Bool, at, |within| Op::Matches(within, pattern));
        }
        if let ("size", [Type::Text | Type::List(_) | Type::Any]) = (name, &*kinds)
            && let Some(part) = parts.pop()
        {
            return self.one(part, Type::Int, at, Op::Size);
        }
        if let (Some((target, kind)), false, [from]) = (&target, is_method, &*kinds)
            && converts(from, *target)
            && let Some(part) = parts.pop()
        {
            let target = *target;
            return self.one(part, kind.clone(), at, |part| Op::Convert(target, part));
        }
        let is_known = search.is_some() || target.is_some() || matches!(name, "matches" | "size");
        if is_known {
            return self.no_overload(name, &kinds.iter().collect::<Vec<_>>(), is_method, at);
        }
        self.wrong(at, format!("undeclared reference to '{name}' (in container 'flow')"))
    }

    /// The pattern of `matches`. Compiled once, so it cannot depend on the flow.
    fn pattern(self, part: &Typed) -> Result<Regex> {
        let Op::Text(pattern) = &part.op else {
            return self.wrong(part.at, "the pattern of matches() must be a string literal");
        };
        re2::read(pattern, self.budget).or_else(|why| self.wrong(part.at, format!("invalid matches argument: {why}")))
    }
}

fn converts(from: &Type, target: Target) -> bool {
    match target {
        Target::Bool => matches!(from, Type::Bool | Type::MaybeBool | Type::Text | Type::Any),
        Target::Text => {
            matches!(from, Type::Bool | Type::Int | Type::Uint | Type::Double | Type::Text | Type::Any)
        }
        Target::Int | Target::Uint | Target::Double => {
            matches!(from, Type::Int | Type::Uint | Type::Double | Type::Text | Type::Any)
        }
    }
}
