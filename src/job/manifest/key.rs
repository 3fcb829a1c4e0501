//! Key spellings: how a manifest writes a key, what the key is, how the report writes it.
//!
//! A key is opaque UTF-8. It is decoded once, with the convention that its manifest uses, and never
//! trimmed, joined or normalised: `/a`, `a/`, `a//b`, CR, LF and `?` are keys.

use std::borrow::Cow;
use std::fmt;

use memchr::memchr2;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

/// Everything but `A-Za-z0-9-._~/`: what S3 leaves as it is in a copy source.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// How a manifest spells keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyEncoding {
    /// URL-encoded, form style, as S3 Batch Operations asks: `%20` and `+` are a space, `%2B` is `+`.
    Url,
    /// The key's own bytes.
    Raw,
}

/// Why a key of a manifest cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The field is empty.
    #[error("the key is empty")]
    Empty,
    /// A `%` without two hexadecimal digits behind it.
    #[error("`%` at byte {at} of the key is not followed by two hexadecimal digits")]
    Percent {
        /// Place of the `%` in the field, from 0.
        at: usize,
    },
    /// The key's bytes are not UTF-8.
    #[error("the key is not UTF-8")]
    NotUtf8,
}

/// Reads a key as `encoding` spells it.
///
/// # Errors
/// An empty key, a stray `%`, bytes that are not UTF-8.
pub fn decode(field: &[u8], encoding: KeyEncoding) -> Result<Cow<'_, str>, KeyError> {
    let bytes = match encoding {
        KeyEncoding::Raw => Cow::Borrowed(field),
        KeyEncoding::Url => decode_form(field)?,
    };
    if bytes.is_empty() {
        return Err(KeyError::Empty);
    }
    match bytes {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
        Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
    }
    .ok_or(KeyError::NotUtf8)
}

fn decode_form(field: &[u8]) -> Result<Cow<'_, [u8]>, KeyError> {
    let Some(mut at) = memchr2(b'%', b'+', field) else {
        return Ok(Cow::Borrowed(field));
    };
    let mut bytes = Vec::with_capacity(field.len());
    bytes.extend_from_slice(field.get(..at).unwrap_or_default());
    while let Some(&byte) = field.get(at) {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digit = |i: usize| field.get(i).and_then(|b| char::from(*b).to_digit(16));
                let (Some(high), Some(low)) = (digit(at + 1), digit(at + 2)) else {
                    return Err(KeyError::Percent { at });
                };
                bytes.push(u8::try_from(high * 16 + low).unwrap_or(u8::MAX));
                at += 2;
            }
            other => bytes.push(other),
        }
        at += 1;
    }
    Ok(Cow::Owned(bytes))
}

/// Spells a key URL-encoded: everything outside `A-Za-z0-9-._~/` as `%XX`, a space as `%20`.
pub fn encode(key: &str) -> String {
    utf8_percent_encode(key, ENCODED).to_string()
}

/// How an encoded manifest spells a key, for the report to spell it so too.
pub fn spelt(field: &[u8], encoding: KeyEncoding) -> Option<&str> {
    match encoding {
        KeyEncoding::Url => std::str::from_utf8(field).ok(),
        KeyEncoding::Raw => None,
    }
}

/// What the first rows of a manifest tell about its encoding; see [`EncodingProbe::judge`].
#[derive(Debug, Default, Clone, Copy)]
pub struct EncodingProbe {
    rows: u64,
    bare_plus: bool,
    escapes: bool,
}

/// Rows that [`EncodingProbe`] looks at for bare `+`.
pub const PROBED_ROWS: u64 = 10_000;

/// Why `--key-encoding auto` cannot tell how a manifest spells its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodingDoubt {
    /// A byte that an encoded key would not hold.
    #[error("holds {0}, which a URL-encoded key cannot hold")]
    NotEncoded(&'static str),
    /// `+` may be a space or a plus.
    #[error("has keys with `+` and none with `%XX`: `+` may be a space or a plus sign")]
    BarePlus,
}

impl EncodingProbe {
    /// Looks at one key field.
    ///
    /// # Errors
    /// The field holds what cannot stand in an encoded key.
    pub fn look(&mut self, field: &[u8]) -> Result<(), EncodingDoubt> {
        for (at, byte) in field.iter().enumerate() {
            match byte {
                b' ' => return Err(EncodingDoubt::NotEncoded("a bare space")),
                // Most likely a quote that is never closed, and rows that would be taken for a key.
                0..=0x1f | 0x7f => {
                    return Err(EncodingDoubt::NotEncoded(
                        "a line break or another control character",
                    ));
                }
                0x80.. => return Err(EncodingDoubt::NotEncoded("a byte outside ASCII")),
                b'%' => {
                    let hex = |i: usize| field.get(i).is_some_and(u8::is_ascii_hexdigit);
                    if !hex(at + 1) || !hex(at + 2) {
                        return Err(EncodingDoubt::NotEncoded(
                            "a `%` without two hexadecimal digits",
                        ));
                    }
                    self.escapes = true;
                }
                b'+' if self.rows < PROBED_ROWS => self.bare_plus = true,
                _ => {}
            }
        }
        self.rows += 1;
        if self.rows == PROBED_ROWS {
            self.judge()
        } else {
            Ok(())
        }
    }

    /// Says whether the rows looked at so far leave `+` in doubt; to be asked at the manifest's end.
    ///
    /// # Errors
    /// The first [`PROBED_ROWS`] rows hold bare `+` and no `%XX`.
    pub fn judge(&self) -> Result<(), EncodingDoubt> {
        if self.rows <= PROBED_ROWS && self.bare_plus && !self.escapes {
            return Err(EncodingDoubt::BarePlus);
        }
        Ok(())
    }
}

/// Shows a stranger's text on one line of a terminal or a log: control characters are escaped.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a>(pub &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            // Bidirectional overrides can make a line read as another one.
            let reorders = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            if c.is_control() || reorders {
                write!(f, "{}", c.escape_default())?;
            } else {
                write!(f, "{c}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn form_decoding() {
        for (field, key) in [
            ("a%20b", "a b"),
            ("a+b", "a b"),
            ("a%2Bb", "a+b"),
            ("a%2bb", "a+b"),
            ("100%25", "100%"),
            ("%C3%BC", "ü"),
            ("/a//b/", "/a//b/"),
            ("a%0D%0Ab", "a\r\nb"),
            ("%F0%9F%A6%80", "🦀"),
            ("pct%2520literal.txt", "pct%20literal.txt"),
        ] {
            assert_eq!(
                decode(field.as_bytes(), KeyEncoding::Url).unwrap(),
                key,
                "{field}"
            );
        }
        assert_eq!(decode(b"a+b%20", KeyEncoding::Raw).unwrap(), "a+b%20");
    }

    #[test]
    fn what_is_no_key() {
        assert_eq!(decode(b"", KeyEncoding::Url), Err(KeyError::Empty));
        assert_eq!(
            decode(b"a%2", KeyEncoding::Url),
            Err(KeyError::Percent { at: 1 })
        );
        assert_eq!(
            decode(b"%zz", KeyEncoding::Url),
            Err(KeyError::Percent { at: 0 })
        );
        assert_eq!(decode(b"%FF", KeyEncoding::Url), Err(KeyError::NotUtf8));
        assert_eq!(decode(b"\xff", KeyEncoding::Raw), Err(KeyError::NotUtf8));
    }

    #[test]
    fn the_probe_stops_at_what_is_not_encoded() {
        let look = |field: &[u8]| EncodingProbe::default().look(field);
        assert!(look(b"a%20b").is_ok());
        assert!(look(b"a b").is_err());
        assert!(look("ü".as_bytes()).is_err());
        assert!(look(b"100%").is_err());
    }

    #[test]
    fn the_probe_asks_when_plus_is_in_doubt() {
        let mut probe = EncodingProbe::default();
        probe.look(b"a+b").unwrap();
        assert_eq!(probe.judge(), Err(EncodingDoubt::BarePlus));
        probe.look(b"a%20b").unwrap();
        assert_eq!(probe.judge(), Ok(()));
    }

    #[test]
    fn shown_keys_stay_on_their_line() {
        assert_eq!(Shown("a\r\nb\u{1b}[31m").to_string(), "a\\r\\nb\\u{1b}[31m");
        assert_eq!(Shown("ü 🦀").to_string(), "ü 🦀");
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_itself(key in "\\PC{1,40}|[\\x00-\\x7f]{1,40}") {
            let spelt = encode(&key);
            prop_assert!(spelt.is_ascii());
            prop_assert_eq!(decode(spelt.as_bytes(), KeyEncoding::Url).unwrap(), key);
        }

        #[test]
        fn decoding_never_panics(field in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = decode(&field, KeyEncoding::Url);
            let _ = EncodingProbe::default().look(&field);
        }
    }
}
