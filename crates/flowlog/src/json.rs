//! A JSON reader that goes through a line once and keeps nothing: the caller requests the expected
//! type next.
//!
//! Flow files are large and all of one kind, so nearly all of a general reader's work would be
//! thrown away: a tree, or structures that are copied out of at once. Here a field is looked at
//! where it stands, a string is a slice of the line unless it holds escapes, and what the caller
//! does not read is skipped. The end of a string is searched in steps of eight bytes. All of a line
//! is checked to be JSON, save what [`Cursor::raw`] hands out unread.

use std::borrow::Cow;
use std::fmt;

/// Maximal nesting of objects and lists. Hubble's go to six.
const MAX_DEPTH: u32 = 64;

/// Error in a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonError(Box<Inner>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Inner {
    /// Names of the fields around it, the innermost first.
    fields: Vec<String>,
    /// First column is 1.
    column: usize,
    what: String,
}

impl JsonError {
    fn within(mut self, field: &str) -> Self {
        self.0.fields.push(field.to_owned());
        self
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path: Vec<&str> = self.0.fields.iter().rev().map(String::as_str).collect();
        if !path.is_empty() {
            write!(f, "{}: ", path.join("."))?;
        }
        write!(f, "{} (column {})", self.0.what, self.0.column)
    }
}

impl std::error::Error for JsonError {}

/// A place in a line.
#[derive(Debug)]
pub struct Cursor<'a> {
    text: &'a str,
    at: usize,
    depth: u32,
}

impl<'a> Cursor<'a> {
    /// A cursor at the start of `text`.
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0, depth: 0 }
    }

    /// What comes next.
    pub fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Something is wrong here.
    ///
    /// # Errors
    /// Always.
    pub fn wrong<T>(&self, what: impl Into<String>) -> Result<T, JsonError> {
        Err(JsonError(Box::new(Inner { fields: Vec::new(), column: self.at + 1, what: what.into() })))
    }

    #[cold]
    fn expected<T>(&self, what: &str) -> Result<T, JsonError> {
        let rest = self.text.get(self.at..).unwrap_or("");
        let found = match rest.bytes().next() {
            None => "the end of the line".to_owned(),
            Some(b'"') => "a string".to_owned(),
            Some(b'{') => "an object".to_owned(),
            Some(b'[') => "a list".to_owned(),
            Some(b'0'..=b'9' | b'-') => "a number".to_owned(),
            Some(_) if rest.starts_with("true") || rest.starts_with("false") => "a boolean".to_owned(),
            Some(_) if rest.starts_with("null") => "null".to_owned(),
            Some(_) => format!("{:?}", rest.chars().next().unwrap_or_default()),
        };
        self.wrong(format!("expected {what}, found {found}"))
    }

    /// The next byte behind white space, which is passed.
    #[inline]
    fn peek(&mut self) -> Option<u8> {
        loop {
            match self.text.as_bytes().get(self.at) {
                Some(b' ' | b'\t' | b'\r' | b'\n') => self.at += 1,
                other => return other.copied(),
            }
        }
    }

    /// Passes `byte` if it comes next.
    #[inline]
    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Checks that nothing follows.
    ///
    /// # Errors
    /// If something does.
    pub fn end(&mut self) -> Result<(), JsonError> {
        if self.peek().is_none() { Ok(()) } else { self.expected("the end of the line") }
    }

    /// Goes through an object: `each` gets every key and must pass its value. A value of null is a
    /// field that is not set, so `each` is not called for it.
    ///
    /// # Errors
    /// If it is no object, or not well formed, or from `each`.
    #[inline]
    pub fn object(&mut self, mut each: impl FnMut(&mut Self, &str) -> Result<(), JsonError>) -> Result<(), JsonError> {
        if !self.take(b'{') {
            return self.expected("an object");
        }
        self.deeper()?;
        if !self.take(b'}') {
            loop {
                let key = self.string()?;
                if !self.take(b':') {
                    return self.expected("`:` behind the name of a field");
                }
                if self.peek() == Some(b'n') {
                    self.word("null").map_err(|wrong| wrong.within(&key))?;
                } else {
                    each(self, &key).map_err(|wrong| wrong.within(&key))?;
                }
                if self.take(b',') {
                    continue;
                }
                if self.take(b'}') {
                    break;
                }
                return self.expected("`,` or `}`");
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// Goes through a list: `each` must pass one element.
    ///
    /// # Errors
    /// If it is no list, or not well formed, or from `each`.
    #[inline]
    pub fn list(&mut self, mut each: impl FnMut(&mut Self) -> Result<(), JsonError>) -> Result<(), JsonError> {
        if !self.take(b'[') {
            return self.expected("a list");
        }
        self.deeper()?;
        if !self.take(b']') {
            loop {
                each(self)?;
                if self.take(b',') {
                    continue;
                }
                if self.take(b']') {
                    break;
                }
                return self.expected("`,` or `]`");
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn deeper(&mut self) -> Result<(), JsonError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { self.wrong(format!("nested more than {MAX_DEPTH} deep")) } else { Ok(()) }
    }

    /// A string; a slice of the line unless it holds escapes.
    ///
    /// # Errors
    /// If it is no string, or not well formed.
    #[inline]
    pub fn string(&mut self) -> Result<Cow<'a, str>, JsonError> {
        if !self.take(b'"') {
            return self.expected("a string");
        }
        let start = self.at;
        let end = plain(self.text.as_bytes(), start);
        self.at = end;
        if self.text.as_bytes().get(end) == Some(&b'"') {
            self.at += 1;
            return Ok(Cow::Borrowed(self.text.get(start..end).unwrap_or("")));
        }
        self.escaped(start).map(Cow::Owned)
    }

    /// Reads the rest of a string that is not plain; `start` is the begin of its text.
    #[cold]
    fn escaped(&mut self, start: usize) -> Result<String, JsonError> {
        let mut out = String::new();
        let mut from = start;
        loop {
            out.push_str(self.text.get(from..self.at).unwrap_or(""));
            match self.text.as_bytes().get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    self.at += 1;
                    out.push(self.escape()?);
                }
                Some(_) => return self.wrong("a control character in a string; it must be escaped"),
                None => return self.wrong("the line ends within a string"),
            }
            from = self.at;
            self.at = plain(self.text.as_bytes(), from);
        }
    }

    /// Reads the text after a backslash.
    fn escape(&mut self) -> Result<char, JsonError> {
        let kind = self.text.as_bytes().get(self.at).copied();
        self.at += usize::from(kind.is_some_and(|byte| byte.is_ascii()));
        Ok(match kind {
            Some(plain @ (b'"' | b'\\' | b'/')) => char::from(plain),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let first = self.four_digits()?;
                // Half a pair that stands alone is no character; Go, which writes these files,
                // replaces it too.
                match first {
                    0xd800..=0xdbff => self.second_half(first)?,
                    _ => char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER),
                }
            }
            _ => return self.wrong("a backslash with nothing known behind it"),
        })
    }

    fn second_half(&mut self, first: u32) -> Result<char, JsonError> {
        let back = self.at;
        if self.text.as_bytes().get(self.at..self.at + 2) == Some(b"\\u") {
            self.at += 2;
            let second = self.four_digits()?;
            if (0xdc00..=0xdfff).contains(&second) {
                let joined = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(joined).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = back;
        }
        Ok(char::REPLACEMENT_CHARACTER)
    }

    fn four_digits(&mut self) -> Result<u32, JsonError> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4).unwrap_or(&[]);
        let value = digits.iter().try_fold(0, |value, &byte| Some(value * 16 + char::from(byte).to_digit(16)?));
        match value {
            Some(value) if digits.len() == 4 => {
                self.at += 4;
                Ok(value)
            }
            _ => self.wrong("expected four hexadecimal digits behind `\\u`"),
        }
    }

    /// A whole number, which may stand in quotes: 64-bit ones do.
    ///
    /// # Errors
    /// If it is none, or does not fit.
    #[inline]
    pub fn whole<T: TryFrom<i128>>(&mut self) -> Result<T, JsonError> {
        let quoted = self.take(b'"');
        let start = self.at;
        let value = self.digits()?;
        if quoted && !self.take(b'"') {
            return self.expected("a whole number");
        }
        if let Some(value) = value.and_then(|value| T::try_from(value).ok()) {
            return Ok(value);
        }
        self.at = start;
        self.wrong(format!("not a whole number of {} bits", 8 * size_of::<T>()))
    }

    /// The number that comes next; none if it is not whole, or far too large.
    #[inline]
    fn digits(&mut self) -> Result<Option<i128>, JsonError> {
        let bytes = self.text.as_bytes();
        self.peek();
        let start = self.at;
        let mut at = start;
        let mut value: i64 = 0;
        // Eighteen digits cannot overflow.
        while let Some(digit @ b'0'..=b'9') = bytes.get(at).copied()
            && at - start < 18
        {
            value = value * 10 + i64::from(digit - b'0');
            at += 1;
        }
        let simple = at > start && !(bytes.get(start) == Some(&b'0') && at > start + 1);
        if simple && !matches!(bytes.get(at), Some(b'0'..=b'9' | b'.' | b'e' | b'E')) {
            self.at = at;
            return Ok(Some(i128::from(value)));
        }
        self.number()
    }

    /// Any number of JSON's grammar, as far as it is whole.
    #[cold]
    fn number(&mut self) -> Result<Option<i128>, JsonError> {
        self.peek();
        let bytes = self.text.as_bytes();
        let start = self.at;
        let digits = |mut at: usize| {
            let from = at;
            while bytes.get(at).is_some_and(u8::is_ascii_digit) {
                at += 1;
            }
            (at > from).then_some(at)
        };
        let mut at = start + usize::from(bytes.get(start) == Some(&b'-'));
        let leading_zero = bytes.get(at) == Some(&b'0');
        let Some(end) = digits(at) else { return self.expected("a number") };
        if leading_zero && end > at + 1 {
            return self.wrong("a number with a leading zero");
        }
        at = end;
        let mut whole = true;
        if bytes.get(at) == Some(&b'.') {
            whole = false;
            at = match digits(at + 1) {
                Some(end) => end,
                None => return self.wrong("a number without digits behind the point"),
            };
        }
        if matches!(bytes.get(at), Some(b'e' | b'E')) {
            whole = false;
            let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
            at = match digits(at + 1 + sign) {
                Some(end) => end,
                None => return self.wrong("a number without digits in its exponent"),
            };
        }
        let text = self.text.get(start..at).unwrap_or("");
        self.at = at;
        if whole {
            return Ok(text.parse().ok());
        }
        let value: f64 = text.parse().unwrap_or(f64::NAN);
        #[allow(clippy::cast_possible_truncation, reason = "checked to be whole and small enough to be exact")]
        Ok((value.fract() == 0.0 && value.abs() < 9e15).then_some(value as i128))
    }

    /// `true` or `false`.
    ///
    /// # Errors
    /// If it is neither.
    #[inline]
    pub fn boolean(&mut self) -> Result<bool, JsonError> {
        match self.peek() {
            Some(b't') => self.word("true").map(|()| true),
            Some(b'f') => self.word("false").map(|()| false),
            _ => self.expected("true or false"),
        }
    }

    #[inline]
    fn word(&mut self, word: &str) -> Result<(), JsonError> {
        if self.text.as_bytes().get(self.at..).is_some_and(|rest| rest.starts_with(word.as_bytes())) {
            self.at += word.len();
            return Ok(());
        }
        self.wrong(format!("expected `{word}`"))
    }

    /// True if a string comes next.
    #[inline]
    pub fn is_string(&mut self) -> bool {
        self.peek() == Some(b'"')
    }

    /// Passes any value, checking that it is one.
    ///
    /// # Errors
    /// If it is not well formed.
    pub fn skip(&mut self) -> Result<(), JsonError> {
        match self.peek() {
            Some(b'{') => self.object(|inside, _| inside.skip()),
            Some(b'[') => self.list(Self::skip),
            Some(b'"') => self.string().map(|_| ()),
            Some(b't' | b'f') => self.boolean().map(|_| ()),
            Some(b'n') => self.word("null"),
            Some(b'0'..=b'9' | b'-') => self.number().map(|_| ()),
            _ => self.expected("a value"),
        }
    }

    /// The text of the object or list that comes next, scanned for its brackets and strings only:
    /// for text that is known already, byte for byte. `None` if it does not end; then nothing is
    /// passed.
    #[inline]
    pub fn raw(&mut self) -> Option<&'a str> {
        self.peek();
        let bytes = self.text.as_bytes();
        let start = self.at;
        let mut at = start;
        let mut depth = 0_u32;
        loop {
            match *bytes.get(at)? {
                b'{' | b'[' => depth += 1,
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    if depth == 0 {
                        self.at = at + 1;
                        return self.text.get(start..=at);
                    }
                }
                b'"' => {
                    at = plain(bytes, at + 1);
                    while *bytes.get(at)? != b'"' {
                        // A backslash and what it escapes; anything else that is not plain does not
                        // belong here.
                        at = plain(bytes, at + 2);
                    }
                }
                _ if depth == 0 => return None,
                _ => {}
            }
            at += 1;
        }
    }

    /// Goes back by the length of what [`Cursor::raw`] has just given, to read it after all.
    pub fn back(&mut self, length: usize) {
        self.at -= length.min(self.at);
    }
}

/// End of the plain part of a string: the first quote, backslash or control character from `at` on.
#[inline]
fn plain(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    // A byte of zero borrows from its high bit. What lies above the lowest hit may be wrong, and is
    // not asked.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    while let Some(word) = bytes.get(at..at + 8).and_then(|eight| eight.try_into().ok()).map(u64::from_le_bytes) {
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let hits = zeros(word ^ (ONES * u64::from(b'"'))) | zeros(word ^ (ONES * u64::from(b'\\'))) | control;
        if hits != 0 {
            return at + hits.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while bytes.get(at).is_some_and(|&byte| byte != b'"' && byte != b'\\' && byte >= 0x20) {
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests;
