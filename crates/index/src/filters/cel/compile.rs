//! Compiles the text of an expression: parses it and checks its types in one pass.
//!
//! A macro's variable is declared before its body is read, since the list that it ranges over
//! stands before it. Recursion is bounded by the levels of brackets, choices and macros.

use super::error::ExpressionError;
use super::op::{Arithmetic, Comparison, Op, Quantifier};
use super::token::{Token, tokens};
use super::typed::{Builder, Typed};
use super::types::{Field, Get, Message, Type, field, names_of_enum};
use crate::filters::re2::RegexBudget;
use crate::filters::reads::Layer7Reads;

/// Length of an expression at most, in bytes.
const MAX_LENGTH: usize = 4096;

/// Brackets, choices and macros within each other at most.
const MAX_DEPTH: usize = 16;

/// The variable that is the flow.
const FLOW: &str = "_flow";

type Result<T = Typed> = std::result::Result<T, ExpressionError>;

/// Compiles an expression, which must be boolean, with patterns within the budget; adds the fields
/// of layer 7 that it reads.
pub(super) fn compile(text: &str, budget: &RegexBudget, reads: &mut Layer7Reads) -> Result<Op> {
    if text.len() > MAX_LENGTH {
        let why = format!("the expression has {} bytes; the most is {MAX_LENGTH}", text.len());
        return Err(ExpressionError::whole(why));
    }
    let tokens = tokens(text)?;
    let builder = Builder { text, budget };
    let mut parser = Parser { builder, tokens, next: 0, depth: 0, variables: Vec::new(), reads };
    let found = parser.expression()?;
    if *parser.peek() != Token::End {
        return parser.unexpected("an operator or the end");
    }
    if !found.kind.is_bool() {
        return Err(ExpressionError::whole(format!("got \"{}\", wanted \"bool\" result type", found.kind)));
    }
    Ok(found.op)
}

struct Parser<'a> {
    builder: Builder<'a>,
    tokens: Vec<(Token, usize)>,
    next: usize,
    depth: usize,
    /// Variables of the macros around.
    variables: Vec<(String, Type)>,
    reads: &'a mut Layer7Reads,
}

impl Parser<'_> {
    fn peek(&self) -> &Token {
        self.tokens.get(self.next).map_or(&Token::End, |(token, _)| token)
    }

    fn at(&self) -> usize {
        self.tokens.get(self.next).map_or(self.builder.text.len(), |(_, at)| *at)
    }

    fn skip(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Token::Sign(next) if *next == sign);
        self.next += usize::from(found);
        found
    }

    fn expect(&mut self, sign: &str) -> Result<()> {
        if self.skip(sign) { Ok(()) } else { self.unexpected(&format!("'{sign}'")) }
    }

    fn unexpected<T>(&self, wanted: &str) -> Result<T> {
        self.builder.wrong(self.at(), format!("Syntax error: expected {wanted}, found {}", self.peek().text()))
    }

    fn name(&mut self) -> Result<String> {
        let Token::Name(name) = self.peek() else { return self.unexpected("a name") };
        let name = name.clone();
        self.next += 1;
        Ok(name)
    }

    fn expression(&mut self) -> Result {
        self.depth += 1;
        // The whole is no bracket.
        if self.depth > MAX_DEPTH + 1 {
            let why = format!("the expression has more than {MAX_DEPTH} brackets within each other");
            return self.builder.wrong(self.at(), why);
        }
        let condition = self.either()?;
        let at = self.at();
        let found = if self.skip("?") {
            let then = self.either()?;
            self.expect(":")?;
            let otherwise = self.expression()?;
            self.builder.choice([condition, then, otherwise], at)?
        } else {
            condition
        };
        self.depth -= 1;
        Ok(found)
    }

    fn either(&mut self) -> Result {
        let first = self.both()?;
        let at = self.at();
        let mut parts = vec![first];
        while self.skip("||") {
            parts.push(self.both()?);
        }
        if parts.len() > 1 { self.builder.logic(parts, "_||_", at, Op::Or) } else { self.single(parts) }
    }

    fn both(&mut self) -> Result {
        let first = self.relation()?;
        let at = self.at();
        let mut parts = vec![first];
        while self.skip("&&") {
            parts.push(self.relation()?);
        }
        if parts.len() > 1 { self.builder.logic(parts, "_&&_", at, Op::And) } else { self.single(parts) }
    }

    fn single(&self, mut parts: Vec<Typed>) -> Result {
        parts.pop().map_or_else(|| self.unexpected("an expression"), Ok)
    }

    fn relation(&mut self) -> Result {
        const SIGNS: [(&str, Comparison); 6] = [
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        let mut left = self.sum()?;
        loop {
            let at = self.at();
            if matches!(self.peek(), Token::Name(name) if name == "in") {
                self.next += 1;
                let right = self.sum()?;
                left = self.builder.within([left, right], at)?;
            } else if let Some((sign, comparison)) = SIGNS.into_iter().find(|(sign, _)| self.skip(sign)) {
                let right = self.sum()?;
                left = self.builder.compare(comparison, &format!("_{sign}_"), [left, right], at)?;
            } else {
                return Ok(left);
            }
        }
    }

    fn sum(&mut self) -> Result {
        const SIGNS: [(&str, Arithmetic); 2] = [("+", Arithmetic::Add), ("-", Arithmetic::Subtract)];
        let mut left = self.product()?;
        loop {
            let at = self.at();
            let Some((sign, arithmetic)) = SIGNS.into_iter().find(|(sign, _)| self.skip(sign)) else {
                return Ok(left);
            };
            let right = self.product()?;
            left = self.builder.arithmetic(arithmetic, &format!("_{sign}_"), [left, right], at)?;
        }
    }

    fn product(&mut self) -> Result {
        const SIGNS: [(&str, Arithmetic); 3] =
            [("*", Arithmetic::Multiply), ("/", Arithmetic::Divide), ("%", Arithmetic::Modulo)];
        let mut left = self.unary()?;
        loop {
            let at = self.at();
            let Some((sign, arithmetic)) = SIGNS.into_iter().find(|(sign, _)| self.skip(sign)) else {
                return Ok(left);
            };
            let right = self.unary()?;
            left = self.builder.arithmetic(arithmetic, &format!("_{sign}_"), [left, right], at)?;
        }
    }

    /// `!` and `-`, any number of either: two are none.
    fn unary(&mut self) -> Result {
        let at = self.at();
        let mut count = 0;
        if self.skip("!") {
            count += 1;
            while self.skip("!") {
                count += 1;
            }
            let part = self.member()?;
            let negated = self.builder.not(part, at)?;
            return if count % 2 == 1 { Ok(negated) } else { self.builder.not(negated, at) };
        }
        while self.skip("-") {
            count += 1;
        }
        if let (1.., &Token::Int(digits)) = (count, self.peek()) {
            let number = if count % 2 == 1 { 0_i64.checked_sub_unsigned(digits) } else { i64::try_from(digits).ok() };
            let Some(number) = number else { return self.builder.wrong(at, "Syntax error: invalid int literal") };
            self.next += 1;
            return self.members(Typed::leaf(Op::Int(number), Type::Int, at));
        }
        let mut part = self.member()?;
        for _ in 0..if count == 0 { 0 } else { 2 - count % 2 } {
            part = self.builder.negate(part, at)?;
        }
        Ok(part)
    }

    fn member(&mut self) -> Result {
        let first = self.primary()?;
        self.members(first)
    }

    /// Fields, methods and elements of what stands before.
    fn members(&mut self, mut target: Typed) -> Result {
        loop {
            let at = self.at();
            if self.skip("[") {
                let position = self.expression()?;
                self.expect("]")?;
                target = self.builder.index([target, position], at)?;
            } else if self.skip(".") {
                let name = self.name()?;
                let open = self.at();
                target =
                    if self.skip("(") { self.method(target, &name, open)? } else { self.select(target, &name, at)? };
            } else {
                return Ok(target);
            }
        }
    }

    fn primary(&mut self) -> Result {
        let at = self.at();
        let token = self.peek().clone();
        self.next += 1;
        match token {
            Token::Int(digits) => match i64::try_from(digits) {
                Ok(number) => Ok(Typed::leaf(Op::Int(number), Type::Int, at)),
                Err(_) => self.builder.wrong(at, "Syntax error: invalid int literal"),
            },
            Token::Uint(number) => Ok(Typed::leaf(Op::Uint(number), Type::Uint, at)),
            Token::Double(number) => Ok(Typed::leaf(Op::Double(number), Type::Double, at)),
            Token::Text(text) => Ok(Typed::leaf(Op::Text(text.into()), Type::Text, at)),
            Token::Sign("(") => {
                let inside = self.expression()?;
                self.expect(")")?;
                Ok(inside)
            }
            Token::Sign("[") => {
                let parts = self.parts("]")?;
                self.builder.list(parts, at)
            }
            Token::Sign("{") => self.builder.wrong(at, "maps are not supported"),
            Token::Sign(".") => {
                let name = self.name()?;
                self.named(&name, at)
            }
            Token::Name(name) => self.named(&name, at),
            Token::Sign(_) | Token::End => {
                self.next -= 1;
                self.unexpected("an expression")
            }
        }
    }

    /// Parts with commas between them, up to the closing bracket.
    fn parts(&mut self, close: &str) -> Result<Vec<Typed>> {
        let mut parts = Vec::new();
        while !self.skip(close) {
            parts.push(self.expression()?);
            if !self.skip(",") {
                self.expect(close)?;
                break;
            }
        }
        Ok(parts)
    }

    fn named(&mut self, name: &str, at: usize) -> Result {
        let open = self.at();
        if self.skip("(") {
            if name == "has" {
                return self.has(open);
            }
            let parts = self.parts(")")?;
            return self.builder.call(name, parts, false, open);
        }
        if matches!(self.peek(), Token::Sign("{")) {
            return self.builder.wrong(self.at(), "messages cannot be made");
        }
        match name {
            "true" | "false" => return Ok(Typed::leaf(Op::Bool(name == "true"), Type::Bool, at)),
            "null" => return Ok(Typed::leaf(Op::Null, Type::Null, at)),
            _ => {}
        }
        if let Some((within, (_, kind))) = self.variables.iter().rev().enumerate().find(|(_, (known, _))| known == name)
        {
            return Ok(Typed::leaf(Op::Variable(within), kind.clone(), at));
        }
        if name == FLOW {
            return Ok(Typed::leaf(Op::Message(Message::Flow), Type::Message(Message::Flow), at));
        }
        self.constant(name, at)
    }

    /// `Verdict.DROPPED`, also with the package before it.
    fn constant(&mut self, name: &str, at: usize) -> Result {
        let unknown = |name: &str| format!("undeclared reference to '{name}' (in container 'flow')");
        let mut name = name.to_owned();
        if name == "flow" && self.skip(".") {
            name = self.name()?;
        }
        let Some(values) = names_of_enum(&name) else { return self.builder.wrong(at, unknown(&name)) };
        if !self.skip(".") {
            return self.builder.wrong(at, unknown(&name));
        }
        let value = self.name()?;
        match values.iter().find(|(_, known)| *known == value) {
            Some((number, _)) => Ok(Typed::leaf(Op::Int(i64::from(*number)), Type::Int, at)),
            None => self.builder.wrong(at, unknown(&format!("{name}.{value}"))),
        }
    }

    fn select(&mut self, target: Typed, name: &str, at: usize) -> Result {
        let Type::Message(message) = target.kind else {
            return self.builder.wrong(at, format!("type '{}' does not support field selection", target.kind));
        };
        match field(message, name) {
            None => self.builder.wrong(at, format!("undefined field '{name}'")),
            Some(Field::Unkept) => {
                let why = format!("field '{name}' of {} is not among those that filters can read here", message.name());
                self.builder.wrong(at, why)
            }
            Some(Field::Message(inner)) => {
                self.note(None, inner);
                Ok(Typed::leaf(Op::Message(inner), Type::Message(inner), at))
            }
            Some(Field::Value(get, kind)) => {
                self.note(Some(get), message);
                Ok(Typed::leaf(Op::Get(get), kind, at))
            }
            Some(Field::Part(part)) => self.builder.one(target, Type::Text, at, |op| Op::Part(op, part)),
        }
    }

    /// Notes what is read of layer 7.
    fn note(&mut self, get: Option<Get>, message: Message) {
        match get {
            Some(Get::Query) => self.reads.query = true,
            Some(Get::Url) => self.reads.url = true,
            Some(Get::Headers) => self.reads.headers = true,
            Some(Get::Names(_)) => self.reads.names = true,
            _ => {}
        }
        self.reads.trace |= matches!(message, Message::TraceContext | Message::TraceParent);
    }

    /// `has(_flow.l4.TCP)`: true if the field is set.
    fn has(&mut self, at: usize) -> Result {
        let part = self.expression()?;
        self.expect(")")?;
        match part.op {
            Op::Message(message) if message != Message::Flow => {
                Ok(Typed::leaf(Op::Present(message), Type::Bool, part.at))
            }
            Op::Get(_) | Op::Part(..) => self.builder.one(part, Type::Bool, at, Op::IsSet),
            _ => self.builder.wrong(at, "invalid argument to has() macro"),
        }
    }

    /// A method, or a macro over a list; its opening bracket is read.
    fn method(&mut self, target: Typed, name: &str, at: usize) -> Result {
        if !matches!(name, "all" | "exists" | "exists_one" | "map" | "filter") {
            let mut parts = vec![target];
            parts.append(&mut self.parts(")")?);
            return self.builder.call(name, parts, true, at);
        }
        let element = match &target.kind {
            Type::List(of) => (**of).clone(),
            other => {
                let why = format!("expression of type '{other}' cannot be range of a comprehension");
                return self.builder.wrong(target.at, why);
            }
        };
        let variable = self.name()?;
        self.expect(",")?;
        self.variables.push((variable, element.clone()));
        let body_at = self.at();
        let body = self.expression()?;
        let further = if name == "map" && self.skip(",") { Some(self.expression()?) } else { None };
        self.variables.pop();
        self.expect(")")?;
        let boolean = |body: &Typed| {
            if body.kind.is_bool() {
                return Ok(());
            }
            let why = format!("expected type 'bool' but found '{}'", body.kind);
            Err(ExpressionError::at(self.builder.text, body_at, why))
        };
        let list = |of: Type| Type::List(Box::new(of));
        let quantifier = match name {
            "all" => Quantifier::All,
            "exists" => Quantifier::Exists,
            "exists_one" => Quantifier::ExistsOne,
            "filter" => {
                boolean(&body)?;
                return self.builder.two([target, body], list(element), at, Op::Filter);
            }
            _ => {
                let (target, body) = match further {
                    Some(further) => {
                        boolean(&body)?;
                        (self.builder.two([target, body], list(element), at, Op::Filter)?, further)
                    }
                    None => (target, body),
                };
                let kind = list(body.kind.clone());
                return self.builder.two([target, body], kind, at, Op::Map);
            }
        };
        boolean(&body)?;
        self.builder.two([target, body], Type::Bool, at, |parts| Op::Quantify(quantifier, parts))
    }
}
