//! Translates regular expressions of RE2 (Hubble's filters) for the `regex` crate; their syntaxes
//! differ in a few places.
//!
//! Perl classes and word boundaries are ASCII in RE2; a `{` that begins no repetition and a `[` or
//! `&&` in a class are plain characters there; `\Q...\E` quotes. All else that both know means the
//! same, and what RE2 does not know (extended mode, for one) is refused here as it would be there.
//! Like RE2, the crate matches in linear time.

use std::cell::Cell;

use regex::bytes::{Regex, RegexBuilder};

/// Sizes of a program that are tried, in bytes: the first that it fits into is what it counts for.
/// Larger ones are refused.
const SIZES: [usize; 4] = [1 << 14, 1 << 16, 1 << 18, 1 << 20];

/// Memory for a search at least, in bytes; larger programs get as much as they have.
const MIN_CACHE: usize = 1 << 16;

/// Memory that the regular expressions of several filters may still take.
#[derive(Debug)]
pub struct RegexBudget(Cell<usize>);

impl Default for RegexBudget {
    fn default() -> Self {
        Self(Cell::new(Self::BYTES))
    }
}

impl RegexBudget {
    /// Memory of the programs and searches of a request, or of a filter that is in none, in bytes.
    pub const BYTES: usize = 1 << 24;

    /// Memory that was taken, in bytes.
    pub fn taken(&self) -> usize {
        Self::BYTES.saturating_sub(self.0.get())
    }

    /// Takes memory for a program of this size and its searches. False if there is not enough.
    fn take(&self, size: usize) -> bool {
        let left = self.0.get().checked_sub(size + cache(size));
        self.0.set(left.unwrap_or(self.0.get()));
        left.is_some()
    }
}

/// Memory for the searches of a program of this size.
fn cache(size: usize) -> usize {
    size.max(MIN_CACHE)
}

/// The expression, unanchored, over text that may be any bytes.
pub(super) fn read(expression: &str, budget: &RegexBudget) -> Result<Regex, String> {
    let translated = Translation { rest: expression, out: String::with_capacity(expression.len() + 16) }.translate()?;
    for size in SIZES {
        let built = RegexBuilder::new(&translated).size_limit(size).dfa_size_limit(cache(size)).build();
        return match built {
            Err(regex::Error::CompiledTooBig(_)) => continue,
            Ok(_) if !budget.take(size) => Err(format!(
                "too large together with the expressions before it: the most is {} MiB",
                RegexBudget::BYTES >> 20
            )),
            Ok(built) => Ok(built),
            // The last line of the crate's drawing says what is wrong; the rest points into the
            // translation.
            Err(other) => {
                let text = other.to_string();
                let why = text.lines().last().unwrap_or_default();
                Err(format!("not a regular expression: {}", why.strip_prefix("error: ").unwrap_or(why)))
            }
        };
    }
    Err("the expression is too large".to_owned())
}

struct Translation<'a> {
    rest: &'a str,
    out: String,
}

impl Translation<'_> {
    fn take(&mut self) -> Option<char> {
        let letter = self.rest.chars().next()?;
        self.rest = self.rest.get(letter.len_utf8()..).unwrap_or_default();
        Some(letter)
    }

    /// Moves past `text` if it comes next.
    fn skip(&mut self, text: &str) -> bool {
        self.rest.strip_prefix(text).map(|rest| self.rest = rest).is_some()
    }

    /// Copies what comes next up to its first `end`, inclusive. False if there is none.
    fn copy_through(&mut self, end: char) -> bool {
        let Some((inside, rest)) = self.rest.split_once(end) else { return false };
        self.out.push_str(inside);
        self.out.push(end);
        self.rest = rest;
        true
    }

    fn translate(mut self) -> Result<String, String> {
        while let Some(letter) = self.take() {
            match letter {
                '\\' => self.escape(false)?,
                '[' => self.class()?,
                '{' if !repetition(self.rest) => self.out.push_str("\\{"),
                '}' => self.out.push_str("\\}"),
                '{' => {
                    self.out.push('{');
                    self.copy_through('}');
                }
                '(' if self.rest.starts_with('?') => self.group()?,
                plain => self.out.push(plain),
            }
        }
        Ok(self.out)
    }

    /// Parses the text after `(`: flags or the name of a group.
    fn group(&mut self) -> Result<(), String> {
        self.out.push('(');
        let named = ["?P<", "?<"].iter().any(|start| self.rest.starts_with(start));
        if !named {
            let flags: String = self.rest.chars().skip(1).take_while(|letter| !matches!(letter, ':' | ')')).collect();
            if let Some(wrong) = flags.chars().find(|letter| !"imsU-".contains(*letter)) {
                return Err(format!("not a regular expression: unknown flag `{wrong}` in `(?{flags}`"));
            }
        }
        Ok(())
    }

    /// Parses the text after a backslash, in a class or outside.
    fn escape(&mut self, class: bool) -> Result<(), String> {
        let Some(letter) = self.take() else {
            return Err("not a regular expression: it ends in a backslash".to_owned());
        };
        let perl = match letter {
            'd' => Some(("0-9", false)),
            'D' => Some(("0-9", true)),
            's' => Some(("\\t\\n\\f\\r ", false)),
            'S' => Some(("\\t\\n\\f\\r ", true)),
            'w' => Some(("0-9A-Za-z_", false)),
            'W' => Some(("0-9A-Za-z_", true)),
            _ => None,
        };
        if let Some((set, negated)) = perl {
            let not = if negated { "^" } else { "" };
            self.out.push_str(&format!("[{not}{set}]"));
            return Ok(());
        }
        match letter {
            'b' | 'B' if !class => {
                self.out.push_str(&format!("(?-u:\\{letter})"));
            }
            'A' | 'z' if !class => self.out.push_str(&format!("\\{letter}")),
            'Q' if !class => {
                let (quoted, rest) = self.rest.split_once("\\E").unwrap_or((self.rest, ""));
                self.out.push_str(&regex::escape(quoted));
                self.rest = rest;
            }
            'a' | 'f' | 't' | 'n' | 'r' | 'v' | 'x' => {
                self.out.push('\\');
                self.out.push(letter);
                if letter == 'x' && self.skip("{") {
                    self.out.push('{');
                    self.copy_through('}');
                }
            }
            'p' | 'P' => {
                self.out.push('\\');
                self.out.push(letter);
                if self.skip("{") {
                    self.out.push('{');
                    self.copy_through('}');
                } else {
                    let class = self.take();
                    self.out.extend(class);
                }
            }
            '0'..='7' => self.octal(letter)?,
            sign if sign.is_ascii_punctuation() => self.out.push_str(&regex::escape(sign.encode_utf8(&mut [0; 4]))),
            other => return Err(format!("not a regular expression: invalid escape sequence `\\{other}`")),
        }
        Ok(())
    }

    /// `\0`, `\012` and `\123`; another digit alone would be a back reference, which RE2 does not
    /// have.
    fn octal(&mut self, first: char) -> Result<(), String> {
        let digits: String = self.rest.chars().take_while(|letter| matches!(letter, '0'..='7')).take(2).collect();
        if first != '0' && digits.is_empty() {
            return Err(format!("not a regular expression: invalid escape sequence `\\{first}`"));
        }
        self.rest = self.rest.get(digits.len()..).unwrap_or_default();
        let number = u32::from_str_radix(&format!("{first}{digits}"), 8).unwrap_or(0);
        self.out.push_str(&format!("\\x{{{number:x}}}"));
        Ok(())
    }

    /// Parses the text after `[`.
    fn class(&mut self) -> Result<(), String> {
        self.out.push('[');
        if self.skip("^") {
            self.out.push('^');
        }
        // A bracket that closes nothing yet is a plain one.
        if self.skip("]") {
            self.out.push_str("\\]");
        }
        loop {
            if self.rest.starts_with("[:") && self.rest.contains(":]") {
                self.copy_through(']');
                continue;
            }
            match self.take() {
                None => return Err("not a regular expression: missing closing `]`".to_owned()),
                Some(']') => {
                    self.out.push(']');
                    return Ok(());
                }
                Some('\\') => self.escape(true)?,
                Some(sign @ ('[' | '&' | '~' | '^')) => {
                    self.out.push('\\');
                    self.out.push(sign);
                }
                // `--` would take one set from another; a dash before the end is a plain one.
                Some('-') if self.rest.starts_with('-') || self.out.ends_with("\\-") => self.out.push_str("\\-"),
                Some(plain) => self.out.push(plain),
            }
        }
    }
}

/// True if `{` and this are a repetition: `{2}`, `{2,}` or `{2,3}`.
fn repetition(rest: &str) -> bool {
    let Some((inside, _)) = rest.split_once('}') else { return false };
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match inside.split_once(',') {
        None => number(inside),
        Some((from, to)) => number(from) && (to.is_empty() || number(to)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RE2's reading counts in each place where the two languages differ.
    #[test]
    fn as_re2_reads_it() {
        for (expression, text, wanted) in [
            ("^/v1/.*", "/v1/x", true),
            (r"^\d+$", "٣", false),
            (r"\w", "é", false),
            (r"[\w-]+x", "a-x", true),
            (r"[^\D]", "5", true),
            (r"a{", "a{", true),
            (r"a{,2}", "a{,2}", true),
            (r"a{2}", "aa", true),
            (r"x{1,2}y", "xxy", true),
            (r"\Qa.b\E.", "a.bc", true),
            (r"\Qa.b\E.", "axbc", false),
            (r"[a[]", "[", true),
            (r"[]a]", "]", true),
            (r"[^]a]", "]", false),
            (r"[a&&b]", "&", true),
            (r"[[:alpha:]]", "x", true),
            (r"[+--]", "-", true),
            (r"\<", "<", true),
            (r"\x41\x{42}", "AB", true),
            (r"\101", "A", true),
            (r"\bfoo\b", "a foo b", true),
            (r"(?i)FOO", "foo", true),
            (r"(?P<n>a)(?<m>b)", "ab", true),
            (r"^.$", "é", true),
            (r"\pL", "é", true),
            (r"\p{Greek}", "α", true),
            ("", "", true),
        ] {
            assert_eq!(
                read(expression, &RegexBudget::default()).unwrap().is_match(text.as_bytes()),
                wanted,
                "{expression} on {text}"
            );
        }
    }

    /// Expressions that RE2 refuses are refused.
    #[test]
    fn mistakes() {
        for wrong in ["(", "[", "*", "a\\", r"\1", r"\Z", "(?x)a b", "(?=a)", r"\C", "[b-a]", "(?P<n", "(?u)a"] {
            assert!(read(wrong, &RegexBudget::default()).is_err(), "{wrong}");
        }
        let large = read("(((a{1000}){1000}){1000})", &RegexBudget::default());
        assert_eq!(large.unwrap_err(), "the expression is too large");
    }

    /// The memory of many expressions is bounded: few large ones, or many small ones.
    #[test]
    fn expressions_have_a_budget() {
        for (expression, most) in [("a{6000}", 8..33), ("^/v1/[a-z]+$", 200..206)] {
            let budget = RegexBudget::default();
            let refused = (0..1000).find_map(|at| Some((at, read(expression, &budget).err()?)));
            let (at, why) = refused.unwrap();
            assert!(most.contains(&at), "{expression}: {at}");
            assert_eq!(why, "too large together with the expressions before it: the most is 16 MiB");
        }
    }
}
