//! Tokens of a master file (RFC 1035 §5.1): entries of one logical line, without copying.

use crate::limits::MAX_ENTRY_TOKENS;

/// A token as written: escapes are still in it, the quotes around it are not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::directory) struct Token<'a> {
    pub text: &'a str,
    pub quoted: bool,
}

/// The tokens of one entry: a line, or several held together by parentheses.
#[derive(PartialEq, Eq, Debug)]
pub(in crate::directory) struct Entry<'a> {
    /// Line of the first token, from 1.
    pub line: usize,
    /// The line starts with a blank: the owner is the one before.
    pub starts_blank: bool,
    pub tokens: Vec<Token<'a>>,
}

/// Reads entries off a text.
pub(in crate::directory) struct Entries<'a> {
    text: &'a str,
    /// What was read of it.
    at: usize,
    line: usize,
}

/// Line and what is wrong there.
pub(in crate::directory) type TokenError = (usize, String);

/// Room made for the tokens of an entry: a signature has 13.
const USUAL_TOKENS: usize = 16;

/// Bytes that stand for themselves within a word. Most of a large file is words: its signatures.
const PLAIN: [bool; 256] = {
    let mut plain = [true; 256];
    let special = b" \t\r\n;()\"\\";
    let mut at = 0;
    while at < special.len() {
        plain[special[at] as usize] = false;
        at += 1;
    }
    plain
};

impl<'a> Entries<'a> {
    pub(in crate::directory) fn new(text: &'a str) -> Self {
        Self { text, at: 0, line: 1 }
    }

    /// The next entry that has tokens; none at the end of the text.
    pub(in crate::directory) fn next_entry(&mut self) -> Result<Option<Entry<'a>>, TokenError> {
        loop {
            if self.at == self.text.len() {
                return Ok(None);
            }
            let entry = self.entry()?;
            if !entry.tokens.is_empty() {
                return Ok(Some(entry));
            }
        }
    }

    fn entry(&mut self) -> Result<Entry<'a>, TokenError> {
        let bytes = self.text.as_bytes();
        let starts_blank = bytes.get(self.at).copied().is_some_and(is_blank);
        let mut entry = Entry { line: self.line, starts_blank, tokens: Vec::with_capacity(USUAL_TOKENS) };
        let mut opened: Option<usize> = None;
        while let Some(&byte) = bytes.get(self.at) {
            match byte {
                b'\n' => {
                    self.at += 1;
                    self.line += 1;
                    if opened.is_none() {
                        return Ok(entry);
                    }
                }
                b' ' | b'\t' | b'\r' => self.at += 1,
                b';' => self.at += self.text[self.at..].find('\n').unwrap_or(bytes.len() - self.at),
                b'(' if opened.is_some() => return Err((self.line, "( inside ( … ): remove one".into())),
                b'(' => {
                    opened = Some(self.line);
                    self.at += 1;
                }
                b')' if opened.is_none() => return Err((self.line, ") without ( before it: remove it".into())),
                b')' => {
                    opened = None;
                    self.at += 1;
                }
                _ => {
                    if entry.tokens.is_empty() {
                        entry.line = self.line;
                    }
                    if entry.tokens.len() == MAX_ENTRY_TOKENS {
                        let message = format!("more than {MAX_ENTRY_TOKENS} words in one record: is a ) missing?");
                        return Err((entry.line, message));
                    }
                    entry.tokens.push(self.token()?);
                }
            }
        }
        match opened {
            Some(line) => Err((line, "( without ) after it: close it".into())),
            None => Ok(entry),
        }
    }

    fn token(&mut self) -> Result<Token<'a>, TokenError> {
        let (bytes, begin) = (self.text.as_bytes(), self.at);
        if bytes[begin] == b'"' {
            let end = self.closing_quote(begin + 1)?;
            self.at = end + 1;
            return Ok(Token { text: &self.text[begin + 1..end], quoted: true });
        }
        let mut end = begin;
        while let Some(&byte) = bytes.get(end) {
            match byte {
                _ if PLAIN[usize::from(byte)] => end += 1,
                // `key="value"` of service parameters is one word (RFC 9460 §2.1).
                b'"' if end > begin && bytes[end - 1] == b'=' => end = self.closing_quote(end + 1)? + 1,
                b'\\' if bytes.get(end + 1).is_some_and(|&next| next != b'\n') => end += 2,
                b'\\' => end += 1,
                _ => break,
            }
        }
        // An escaped character may be longer than a byte.
        while !self.text.is_char_boundary(end) {
            end += 1;
        }
        self.at = end;
        Ok(Token { text: &self.text[begin..end], quoted: false })
    }

    /// Where the quote is that closes the one before `from`.
    fn closing_quote(&self, from: usize) -> Result<usize, TokenError> {
        let bytes = self.text.as_bytes();
        let mut at = from;
        loop {
            match bytes.get(at) {
                Some(b'"') => return Ok(at),
                Some(b'\\') if bytes.get(at + 1) != Some(&b'\n') => at += 2,
                Some(b'\n') | None => {
                    return Err((self.line, "a string does not end on its line: close it with \"".into()));
                }
                Some(_) => at += 1,
            }
        }
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r')
}

/// Seconds: `3600`, or with units as `1h30m` (weeks, days, hours, minutes, seconds).
pub fn parse_seconds(text: &str) -> Option<u32> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok();
    }
    let mut seconds = 0u32;
    let mut number = None;
    for byte in text.bytes() {
        if byte.is_ascii_digit() {
            number = Some(number.unwrap_or(0u32).checked_mul(10)?.checked_add(u32::from(byte - b'0'))?);
            continue;
        }
        let unit = match byte.to_ascii_lowercase() {
            b'w' => 7 * 24 * 3600,
            b'd' => 24 * 3600,
            b'h' => 3600,
            b'm' => 60,
            b's' => 1,
            _ => return None,
        };
        seconds = seconds.checked_add(number.take()?.checked_mul(unit)?)?;
    }
    number.is_none().then_some(seconds)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(text: &str) -> Vec<(usize, bool, Vec<&str>)> {
        let mut entries = Entries::new(text);
        let mut all = Vec::new();
        while let Some(entry) = entries.next_entry().unwrap() {
            all.push((entry.line, entry.starts_blank, entry.tokens.iter().map(|token| token.text).collect()));
        }
        all
    }

    #[test]
    fn parentheses_continue_a_record_over_lines_and_comments_end_at_the_line() {
        let text = "; a comment\n\n@ SOA a b ( 1 ; serial\n 2\n) 3\n\tNS ns\nx A 1";
        assert_eq!(
            words(text),
            [
                (3, false, vec!["@", "SOA", "a", "b", "1", "2", "3"]),
                (6, true, vec!["NS", "ns"]),
                (7, false, vec!["x", "A", "1"]),
            ]
        );
    }

    #[test]
    fn quotes_hold_blanks_semicolons_and_escaped_quotes() {
        assert_eq!(words(r#"TXT "a; (b" c\;d "\"" "#), [(1, false, vec!["TXT", "a; (b", r"c\;d", r#"\""#])]);
        assert_eq!(words(r#"HTTPS 1 . alpn="h2 x" port=1"#)[0].2, ["HTTPS", "1", ".", r#"alpn="h2 x""#, "port=1"]);
    }

    #[test]
    fn errors_say_the_line() {
        let error = |text| {
            let mut entries = Entries::new(text);
            loop {
                match entries.next_entry() {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("no error in {text:?}"),
                    Err((line, _)) => return line,
                }
            }
        };
        assert_eq!(error("a\nb (\nc\nd"), 2);
        assert_eq!(error("a\nb )"), 2);
        assert_eq!(error("a\n\n\"b\nc\""), 3);
        assert_eq!(error("( ("), 1);
        assert_eq!(error("\"b\\"), 1);
        assert_eq!(error("a\n\"b\\\nc\""), 2);
    }

    #[test]
    fn times_may_have_units() {
        assert_eq!(parse_seconds("3600"), Some(3600));
        assert_eq!(parse_seconds("1h30M"), Some(5400));
        assert_eq!(parse_seconds("1w2d"), Some(9 * 86_400));
        for wrong in ["", "h", "1h3", "1x", "4294967296", "9999999w", "-1", "IN"] {
            assert_eq!(parse_seconds(wrong).filter(|_| !wrong.is_empty()), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_text_has_an_answer(text in "[ -~\\n\\t\"\\\\();=é]{0,80}") {
            let mut entries = Entries::new(&text);
            while let Ok(Some(_)) = entries.next_entry() {}
        }
    }
}
