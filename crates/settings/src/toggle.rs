//! An entry of the list that switches metric families.

/// Bytes of a family's name.
const MAX_NAME: usize = 200;

/// A metric family that is switched on or off: `+name`, `-name`. An entry of another form switches
/// nothing, as in Cilium.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toggle(String);

impl Toggle {
    /// The entry of that text, of whichever form.
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Its text.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Parses the entry: whether the family is exposed, and its full name.
    ///
    /// # Errors
    /// The reason for which it switches nothing.
    pub fn switch(&self) -> Result<(bool, &str), &'static str> {
        let (on, name) = match (self.0.strip_prefix('+'), self.0.strip_prefix('-')) {
            (Some(name), _) => (true, name),
            (_, Some(name)) => (false, name),
            _ if self.0.is_empty() => return Err("the entry is empty"),
            _ => return Err("it has neither + nor - before the name"),
        };
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':';
        if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(fits) {
            return Err("it is not the name of a metric");
        }
        Ok((on, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An entry switches a family, or says why it switches nothing.
    #[test]
    fn entries_are_parsed() {
        let switch = |text: &'static str| Toggle::new(text).switch().map(|(on, name)| (on, name.to_owned()));
        assert_eq!(switch("+cilium_a"), Ok((true, "cilium_a".to_owned())));
        assert_eq!(switch("-cilium:b"), Ok((false, "cilium:b".to_owned())));
        assert_eq!(switch(""), Err("the entry is empty"));
        assert_eq!(switch("cilium_a"), Err("it has neither + nor - before the name"));
        for unnamed in ["+", "-cilium-a", "++a", "-\u{e9}"] {
            assert_eq!(switch(unnamed), Err("it is not the name of a metric"), "{unnamed}");
        }
        assert!(Toggle::new(&format!("+{}", "a".repeat(MAX_NAME))).switch().is_ok());
        assert!(Toggle::new(&format!("+{}", "a".repeat(MAX_NAME + 1))).switch().is_err());
    }
}
