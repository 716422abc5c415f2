//! A compiled expression: a tree of operations whose types are checked.

use regex::bytes::Regex;

use super::types::{Get, Message};

/// An operation.
#[derive(Debug, Clone)]
pub(super) enum Op {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Box<str>),
    Get(Get),
    Message(Message),
    /// True if the flow has the message.
    Present(Message),
    /// True if the value is not the one that an absent field has.
    IsSet(Box<Op>),
    /// The first or second text of an element of a list.
    Part(Box<Op>, usize),
    /// The variable that so many others stand within.
    Variable(usize),
    List(Vec<Op>),
    And(Vec<Op>),
    Or(Vec<Op>),
    Not(Box<Op>),
    Negate(Box<Op>),
    Choice(Box<[Op; 3]>),
    Compare(Comparison, Box<[Op; 2]>),
    In(Box<[Op; 2]>),
    Arithmetic(Arithmetic, Box<[Op; 2]>),
    Index(Box<[Op; 2]>),
    Size(Box<Op>),
    Search(Search, Box<[Op; 2]>),
    Matches(Box<Op>, Regex),
    Convert(Target, Box<Op>),
    /// A list, and what is asked of each element.
    Quantify(Quantifier, Box<[Op; 2]>),
    /// The elements of a list, changed.
    Map(Box<[Op; 2]>),
    /// The elements of a list that pass.
    Filter(Box<[Op; 2]>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Search {
    Contains,
    StartsWith,
    EndsWith,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Int,
    Uint,
    Double,
    Text,
    Bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quantifier {
    All,
    Exists,
    ExistsOne,
}
