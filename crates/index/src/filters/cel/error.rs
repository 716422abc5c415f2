//! What is wrong with an expression, and where.

/// An expression that cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{why}", place(*position))]
pub struct ExpressionError {
    /// Line and column, from 1; none of an error of the whole expression.
    position: Option<(usize, usize)>,
    why: String,
}

fn place(position: Option<(usize, usize)>) -> String {
    position.map(|(line, column)| format!("{line}:{column}: ")).unwrap_or_default()
}

impl ExpressionError {
    /// An error of the whole expression.
    pub(super) fn whole(why: impl Into<String>) -> Self {
        Self { position: None, why: why.into() }
    }

    /// An error at an offset in bytes.
    pub(super) fn at(text: &str, offset: usize, why: impl Into<String>) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Self { position: Some((line, column)), why: why.into() }
    }

    /// The error under the line of `text` that has it, as the reference implementation shows it.
    pub fn shown(&self, text: &str) -> String {
        let Some((line, column)) = self.position else { return self.why.clone() };
        let source = text.split('\n').nth(line - 1).unwrap_or_default();
        format!("ERROR: <input>:{line}:{column}: {}\n | {source}\n | {}^", self.why, ".".repeat(column - 1))
    }
}
