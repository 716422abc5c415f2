//! The words of an expression: splits a text into tokens, each with its place.

use super::error::ExpressionError;

/// A token.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Name(String),
    /// An operator or a bracket.
    Sign(&'static str),
    /// Digits without a sign.
    Int(u64),
    Uint(u64),
    Double(f64),
    Text(String),
    End,
}

impl Token {
    /// The token as an error names it.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Name(name) => format!("'{name}'"),
            Self::Sign(sign) => format!("'{sign}'"),
            Self::Int(number) => format!("'{number}'"),
            Self::Uint(number) => format!("'{number}u'"),
            Self::Double(number) => format!("'{number}'"),
            Self::Text(_) => "a string".to_owned(),
            Self::End => "the end".to_owned(),
        }
    }
}

/// Operators and brackets, longer ones first.
const SIGNS: [&str; 24] = [
    "||", "&&", "==", "!=", "<=", ">=", "(", ")", "[", "]", "{", "}", ".", ",", "?", ":", "<", ">", "+", "-", "*", "/",
    "%", "!",
];

/// Splits an expression; each token stands with its offset in bytes, and the end is the last.
pub(super) fn tokens(text: &str) -> Result<Vec<(Token, usize)>, ExpressionError> {
    let mut lexer = Lexer { text, at: 0 };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_space();
        let at = lexer.at;
        let token = lexer.token()?;
        let is_end = token == Token::End;
        tokens.push((token, at));
        if is_end {
            return Ok(tokens);
        }
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn take(&mut self) -> Option<char> {
        let letter = self.rest().chars().next()?;
        self.at += letter.len_utf8();
        Some(letter)
    }

    fn skip(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        if found {
            self.at += text.len();
        }
        found
    }

    /// Takes the letters that come next and fit.
    fn run(&mut self, fits: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let length = rest.find(|letter| !fits(letter)).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    fn skip_space(&mut self) {
        loop {
            self.run(char::is_whitespace);
            if !self.skip("//") {
                return;
            }
            self.run(|letter| letter != '\n');
        }
    }

    fn wrong<T>(&self, at: usize, why: impl Into<String>) -> Result<T, ExpressionError> {
        Err(ExpressionError::at(self.text, at, format!("Syntax error: {}", why.into())))
    }

    fn token(&mut self) -> Result<Token, ExpressionError> {
        let at = self.at;
        let Some(first) = self.rest().chars().next() else { return Ok(Token::End) };
        let mut following = self.rest().chars().skip(1);
        let second = following.next();
        match first {
            '"' | '\'' => self.string(false).map(Token::Text),
            'r' | 'R' if matches!(second, Some('"' | '\'')) => {
                self.at += 1;
                self.string(true).map(Token::Text)
            }
            'b' | 'B' if matches!(second, Some('"' | '\'')) => self.wrong(at, "bytes are not supported"),
            '0'..='9' => self.number(),
            '.' if second.is_some_and(|second| second.is_ascii_digit()) => self.number(),
            'a'..='z' | 'A'..='Z' | '_' => {
                Ok(Token::Name(self.run(|letter| letter.is_ascii_alphanumeric() || letter == '_').to_owned()))
            }
            other => match SIGNS.iter().find(|sign| self.skip(sign)) {
                Some(sign) => Ok(Token::Sign(sign)),
                None => self.wrong(at, format!("token recognition error at: '{other}'")),
            },
        }
    }

    fn number(&mut self) -> Result<Token, ExpressionError> {
        let at = self.at;
        let (digits, radix) = if self.skip("0x") || self.skip("0X") {
            (self.run(|letter| letter.is_ascii_hexdigit()), 16)
        } else {
            (self.run(|letter| letter.is_ascii_digit()), 10)
        };
        if radix == 10 {
            let has_fraction = self.rest().starts_with('.')
                && self.rest().chars().nth(1).is_some_and(|letter| letter.is_ascii_digit());
            if has_fraction {
                self.at += 1;
                self.run(|letter| letter.is_ascii_digit());
            }
            let has_exponent = self.skip("e") || self.skip("E");
            if has_exponent {
                let _signed = self.skip("-") || self.skip("+");
                if self.run(|letter| letter.is_ascii_digit()).is_empty() {
                    return self.wrong(at, "expected digits behind the exponent");
                }
            }
            if has_fraction || has_exponent {
                let text = self.text.get(at..self.at).unwrap_or_default();
                return match text.parse() {
                    Ok(number) => Ok(Token::Double(number)),
                    Err(_) => self.wrong(at, "invalid double literal"),
                };
            }
        }
        let Ok(number) = u64::from_str_radix(digits, radix) else {
            return self.wrong(at, "invalid int literal");
        };
        Ok(if self.skip("u") || self.skip("U") { Token::Uint(number) } else { Token::Int(number) })
    }

    /// A string in one or three quotes of either kind.
    fn string(&mut self, raw: bool) -> Result<String, ExpressionError> {
        let at = self.at;
        let quote = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|quote| self.skip(quote)).unwrap_or("\"");
        let mut out = String::new();
        loop {
            if self.skip(quote) {
                return Ok(out);
            }
            match self.take() {
                None => return self.wrong(at, "the string has no end"),
                Some('\n') if quote.len() == 1 => return self.wrong(at, "the string has no end"),
                Some('\\') if raw => {
                    out.push('\\');
                    out.extend(self.take());
                }
                Some('\\') => out.push(self.escape()?),
                Some(letter) => out.push(letter),
            }
        }
    }

    fn escape(&mut self) -> Result<char, ExpressionError> {
        let at = self.at;
        let letter = self.take();
        let code = match letter {
            Some('a') => 7,
            Some('b') => 8,
            Some('f') => 12,
            Some('n') => 10,
            Some('r') => 13,
            Some('t') => 9,
            Some('v') => 11,
            Some('\\' | '?' | '"' | '\'' | '`') => u32::from(letter.unwrap_or_default()),
            Some('x' | 'X') => self.code(2, 16),
            Some('u') => self.code(4, 16),
            Some('U') => self.code(8, 16),
            Some('0'..='3') => {
                self.at -= 1;
                self.code(3, 8)
            }
            _ => u32::MAX,
        };
        match char::from_u32(code) {
            Some(letter) => Ok(letter),
            None => self.wrong(at, "invalid escape in a string"),
        }
    }

    /// The number that so many digits make.
    fn code(&mut self, digits: usize, radix: u32) -> u32 {
        let text = self.rest().get(..digits).filter(|text| text.chars().all(|letter| letter.is_digit(radix)));
        self.at += text.map_or(0, str::len);
        text.and_then(|text| u32::from_str_radix(text, radix).ok()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Token {
        let found = tokens(text).unwrap();
        assert_eq!(found.len(), 2, "{text}: {found:?}");
        found[0].0.clone()
    }

    /// Literals of every form (CEL specification, "Lexis").
    #[test]
    fn literals() {
        assert_eq!(one("0x1F"), Token::Int(31));
        assert_eq!(one("443u"), Token::Uint(443));
        assert_eq!(one("1.5e3"), Token::Double(1500.0));
        assert_eq!(one(".5"), Token::Double(0.5));
        assert_eq!(one(r#""a\n\x41\u00e9\101""#), Token::Text("a\nA\u{e9}A".into()));
        assert_eq!(one(r"r'\d+'"), Token::Text(r"\d+".into()));
        assert_eq!(one("'''it's\n'''"), Token::Text("it's\n".into()));
        assert_eq!(one("a_1 // to the end"), Token::Name("a_1".into()));
        for wrong in ["'a", "'a\nb'", r"'\q'", r"'\x4'", "b'a'", "1e", "0x", "99999999999999999999", "#", "'\\"] {
            assert!(tokens(wrong).is_err(), "{wrong}");
        }
    }
}
