//! Wildcards and variables in the strings of a policy.

use super::context::Context;
use super::document::Version;

/// A stretch of a policy's string: as written, or the value of a variable.
///
/// They are kept apart because a wildcard in a value is no wildcard: a user named `*` matches only himself.
enum Piece<'a> {
    Written(&'a str),
    Value(&'a str),
}

/// A string of a policy, split at its variables and with their values.
pub(super) struct Expanded<'a>(Vec<Piece<'a>>);

impl<'a> Expanded<'a> {
    /// Takes the string as it is: no variables, as in `Action`.
    pub(super) fn verbatim(text: &'a str) -> Self {
        Self(vec![Piece::Written(text)])
    }

    /// Puts values for the variables. Nothing if one has none: then the statement that holds it is void.
    ///
    /// Variables came with version 2012-10-17; before, `${` is only text.
    /// `https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html`
    pub(super) fn new(text: &'a str, version: Version, context: &'a Context) -> Option<Self> {
        if version == Version::V2008 {
            return Some(Self::verbatim(text));
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            let (before, variable) = rest.split_at(start);
            let end = variable.find('}')?;
            pieces.push(Piece::Written(before));
            pieces.push(Piece::Value(value_of(&variable[2..end], context)?));
            rest = &variable[end + 1..];
        }
        pieces.push(Piece::Written(rest));
        Some(Self(pieces))
    }

    /// Gives the string without reading wildcards, as `StringEquals` wants it.
    pub(super) fn text(&self) -> String {
        self.0
            .iter()
            .map(|piece| match piece {
                Piece::Written(text) | Piece::Value(text) => *text,
            })
            .collect()
    }

    /// Gives the string with its wildcards.
    pub(super) fn pattern(&self) -> Pattern {
        let mut tokens = Vec::new();
        for piece in &self.0 {
            match piece {
                Piece::Value(text) => tokens.extend(text.chars().map(Token::Char)),
                Piece::Written(text) => tokens.extend(text.chars().map(|char| match char {
                    '*' => Token::Any,
                    '?' => Token::One,
                    char => Token::Char(char),
                })),
            }
        }
        Pattern(tokens)
    }
}

/// Finds the value of what stands between `${` and `}`: a key, a key with a default, or an escape.
fn value_of<'a>(variable: &'a str, context: &'a Context) -> Option<&'a str> {
    if matches!(variable, "*" | "?" | "$") {
        return Some(variable);
    }
    let (key, default) = match variable.split_once(',') {
        Some((key, default)) => {
            let default = default.trim().strip_prefix('\'')?.strip_suffix('\'')?;
            (key.trim(), Some(default))
        }
        None => (variable, None),
    };
    context.value(key).or(default)
}

/// One character of a pattern.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Char(char),
    One,
    Any,
}

/// A string with wildcards: `*` for any run of characters, none too, and `?` for one.
pub(super) struct Pattern(Vec<Token>);

impl Pattern {
    /// True if the whole text fits, letters of either case being different.
    pub(super) fn matches(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        fits(&self.0, &text)
    }

    /// True if each of the six parts of an ARN fits, so that a wildcard never reaches over a colon of the first five.
    pub(super) fn matches_arn(&self, arn: &str) -> bool {
        let text: Vec<char> = arn.chars().collect();
        let patterns: Vec<&[Token]> = self
            .0
            .splitn(6, |token| *token == Token::Char(':'))
            .collect();
        let parts: Vec<&[char]> = text.splitn(6, |char| *char == ':').collect();
        patterns.len() == 6
            && parts.len() == 6
            && patterns
                .iter()
                .zip(&parts)
                .all(|(tokens, part)| fits(tokens, part))
    }
}

/// Matches in linear memory and without recursion: on a mismatch the last `*` swallows one character more.
fn fits(tokens: &[Token], text: &[char]) -> bool {
    let (mut at_token, mut at_char) = (0, 0);
    let mut last_star: Option<(usize, usize)> = None;
    while at_char < text.len() {
        match tokens.get(at_token) {
            Some(Token::Any) => {
                last_star = Some((at_token, at_char));
                at_token += 1;
            }
            Some(Token::One) => {
                at_token += 1;
                at_char += 1;
            }
            Some(Token::Char(char)) if *char == text[at_char] => {
                at_token += 1;
                at_char += 1;
            }
            _ => {
                let Some((star, swallowed)) = last_star else {
                    return false;
                };
                last_star = Some((star, swallowed + 1));
                at_token = star + 1;
                at_char = swallowed + 1;
            }
        }
    }
    tokens[at_token..].iter().all(|token| *token == Token::Any)
}

#[cfg(test)]
mod tests {
    use super::{Expanded, Version};
    use crate::iam::Context;

    fn matches(pattern: &str, text: &str) -> bool {
        Expanded::verbatim(pattern).pattern().matches(text)
    }

    #[test]
    fn wildcards() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "a/b:c", true),
            ("?", "", false),
            ("?", "é", true),
            ("?", "ab", false),
            ("a", "A", false),
            ("a*", "a", true),
            ("a*", "abc", true),
            ("a*", "ba", false),
            ("*c", "abc", true),
            ("*c", "abcd", false),
            ("a*c", "abbbc", true),
            ("a*c", "ac", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "acb", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("**", "x", true),
            ("*?*", "", false),
            ("s3:Get*", "s3:GetObject", true),
            ("s3:Get*", "s3:PutObject", false),
            ("arn:aws:s3:::b/*", "arn:aws:s3:::b/k/with/slashes", true),
            ("arn:aws:s3:::b/*", "arn:aws:s3:::b", false),
            ("arn:aws:s3:::b*", "arn:aws:s3:::bucket", true),
            ("arn:aws:s3:::b/2026/??/*", "arn:aws:s3:::b/2026/01/x", true),
            ("arn:aws:s3:::b/2026/??/*", "arn:aws:s3:::b/2026/1/x", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn many_stars_end() {
        assert!(!matches(&"a*".repeat(40), &format!("{}b", "a".repeat(39))));
        assert!(matches(&"a*".repeat(40), &"a".repeat(400)));
    }

    #[test]
    fn a_wildcard_stays_in_its_part_of_an_arn() {
        for (pattern, arn, expected) in [
            (
                "arn:aws:iam::*:role/x",
                "arn:aws:iam::111111111111:role/x",
                true,
            ),
            ("arn:aws:iam::1*", "arn:aws:iam::111111111111:role/x", false),
            ("arn:aws:iam::*", "arn:aws:iam::111111111111:role/x", false),
            ("arn:*:s3:::b", "arn:aws:s3:::b", true),
            ("arn:aws:*:b", "arn:aws:s3:::b", false),
            ("arn:aws:s3:::*", "arn:aws:s3:::b/k:with:colons", true),
            ("*", "arn:aws:s3:::b", false),
            ("arn:aws:s3:::b", "b", false),
        ] {
            let pattern_of = Expanded::verbatim(pattern).pattern();
            assert_eq!(pattern_of.matches_arn(arn), expected, "{pattern} on {arn}");
        }
    }

    #[test]
    fn variables() {
        let context = Context::new()
            .with("aws:username", "ann*")
            .with("aws:PrincipalAccount", "111111111111");
        for (text, expected) in [
            ("home/${aws:username}/x", Some("home/ann*/x")),
            ("${AWS:principalaccount}", Some("111111111111")),
            ("${*}${?}${$}", Some("*?$")),
            ("${aws:PrincipalTag/team, 'none'}", Some("none")),
            ("${aws:username, 'none'}", Some("ann*")),
            ("${aws:PrincipalTag/team}", None),
            ("${aws:PrincipalTag/team, none}", None),
            ("${aws:username", None),
            ("$aws", Some("$aws")),
        ] {
            let found = Expanded::new(text, Version::V2012, &context).map(|it| it.text());
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn wildcards_in_values_and_escapes_are_text() {
        let context = Context::new().with("aws:username", "*");
        for (text, subject, expected) in [
            ("a/${aws:username}/*", "a/*/b", true),
            ("a/${aws:username}/*", "a/x/b", false),
            ("a${*}", "a*", true),
            ("a${*}", "ab", false),
            ("a${?}b*", "a?bc", true),
        ] {
            let expanded = Expanded::new(text, Version::V2012, &context).unwrap();
            assert_eq!(
                expanded.pattern().matches(subject),
                expected,
                "{text} on {subject}"
            );
        }
    }

    #[test]
    fn before_2012_a_variable_is_text() {
        let context = Context::new().with("aws:username", "ann");
        let expanded = Expanded::new("${aws:username}", Version::V2008, &context).unwrap();
        assert_eq!(expanded.text(), "${aws:username}");
    }
}
