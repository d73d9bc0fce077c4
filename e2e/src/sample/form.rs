//! Form data: percent encoding, query strings and the two body formats of HTML forms.

/// A field of a form that carries a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part<'a> {
    /// Name of the field.
    pub(super) name: String,
    /// Whether the browser sent it as a file.
    pub(super) is_file: bool,
    /// The content.
    pub(super) content: &'a [u8],
}

/// The pairs of `a=1&b=2`, decoded.
pub(super) fn pairs(encoded: &str) -> Vec<(String, String)> {
    encoded
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
        .collect()
}

/// Undoes percent encoding and `+`; what is not a valid escape stays as it is.
pub(super) fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let escape = bytes
            .get(at + 1..at + 3)
            .filter(|_| *byte == b'%')
            .and_then(|digits| {
                let digit = |byte: u8| {
                    char::from(byte)
                        .to_digit(16)
                        .and_then(|digit| u8::try_from(digit).ok())
                };
                Some(digit(digits[0])? << 4 | digit(digits[1])?)
            });
        match (escape, byte) {
            (Some(escaped), _) => {
                decoded.push(escaped);
                at += 2;
            }
            (None, b'+') => decoded.push(b' '),
            (None, other) => decoded.push(*other),
        }
        at += 1;
    }
    String::from_utf8(decoded).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Percent-encodes everything but unreserved characters.
pub(super) fn encode(text: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// The boundary of a `multipart/form-data` content type.
pub(super) fn boundary(content_type: &str) -> Option<&str> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    parameter(parameters, "boundary").filter(|boundary| !boundary.is_empty())
}

/// The parts of a multipart body; parts without a name are left out.
pub(super) fn parts<'a>(body: &'a [u8], boundary: &str) -> Vec<Part<'a>> {
    let delimiter = format!("--{boundary}");
    let mut parts = Vec::new();
    let Some((_preamble, mut rest)) = split(body, delimiter.as_bytes()) else {
        return parts;
    };
    let delimiter = format!("\r\n{delimiter}");
    while let Some(after) = rest.strip_prefix(b"\r\n") {
        let Some((part, next)) = split(after, delimiter.as_bytes()) else {
            break;
        };
        rest = next;
        // A part without headers starts with the empty line at once, and has no name.
        let Some((headers, content)) = split(part, b"\r\n\r\n") else {
            continue;
        };
        let headers = String::from_utf8_lossy(headers);
        let disposition = headers.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.trim()
                .eq_ignore_ascii_case("content-disposition")
                .then_some(value)
        });
        let Some(disposition) = disposition else { continue };
        if let Some(name) = parameter(disposition, "name") {
            let is_file = parameter(disposition, "filename").is_some();
            parts.push(Part {
                name: name.to_owned(),
                is_file,
                content,
            });
        }
    }
    parts
}

fn parameter<'a>(parameters: &'a str, name: &str) -> Option<&'a str> {
    parameters.split(';').find_map(|parameter| {
        let (key, value) = parameter.split_once('=')?;
        key.trim()
            .eq_ignore_ascii_case(name)
            .then(|| value.trim().trim_matches('"'))
    })
}

fn split<'a>(bytes: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = bytes
        .windows(separator.len())
        .position(|window| window == separator)?;
    Some((&bytes[..at], &bytes[at + separator.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_and_broken_ones_stay() {
        for (encoded, decoded) in [
            ("a%20b+c", "a b c"),
            ("100%", "100%"),
            ("%zz", "%zz"),
            ("%2", "%2"),
            ("%C3%A9", "é"),
            ("%ff", "\u{fffd}"),
        ] {
            assert_eq!(decode(encoded), decoded, "{encoded}");
        }
    }

    #[test]
    fn encoding_is_undone_by_decoding() {
        let text = "São Paulo & 北京 + 100%";
        assert_eq!(decode(&encode(text)), text);
        assert!(
            encode(text)
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"%-._~".contains(&byte))
        );
    }

    #[test]
    fn a_multipart_body_has_fields_and_files() {
        let content_type = "multipart/form-data; boundary=\"xyz\"";
        let body = b"--xyz\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--xyz\r\n\
            content-disposition: form-data; name=\"f\"; filename=\"t.txt\"\r\nContent-Type: text/plain\r\n\r\nline\r\n\r\n--xyz--\r\n";
        let boundary = boundary(content_type).unwrap();
        assert_eq!(
            parts(body, boundary),
            [
                Part {
                    name: "a".into(),
                    is_file: false,
                    content: b"1"
                },
                Part {
                    name: "f".into(),
                    is_file: true,
                    content: b"line\r\n"
                },
            ]
        );
        assert_eq!(super::boundary("text/plain; boundary=x"), None);
        assert_eq!(parts(b"--xyz\r\nno end", "xyz"), []);
    }
}
