//! The environment files of virtual machines (`cluster.env`, `sidecar.env`).

use std::collections::BTreeMap;

/// Reads `NAME=value` lines as a shell would when it sources the file: an `export` in front, quotes
/// around the value and comment lines are understood. Anything else, expansions included, is skipped,
/// since no shell runs here.
#[must_use]
pub fn parse_env_file(text: &str) -> BTreeMap<String, String> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<(String, String)> {
    let line = line.trim();
    let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
    let (name, value) = line.split_once('=')?;
    let mut letters = name.chars();
    let first = letters.next()?;
    if !(first.is_ascii_alphabetic() || first == '_') {
        return None;
    }
    if !letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_') {
        return None;
    }
    let value = value.trim();
    let quoted = ['"', '\'']
        .into_iter()
        .find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote));
    let value = match quoted {
        Some(inner) => inner,
        // An unquoted value ends at the first blank: the rest is a comment or another command.
        None => value.split_whitespace().next().unwrap_or_default(),
    };
    if value.contains('$') || value.contains('`') {
        return None;
    }
    Some((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::parse_env_file;

    #[test]
    fn assignments_exports_quotes_and_comments_are_read_as_a_shell_would() {
        let text = "# mesh\nISTIO_SERVICE_CIDR=10.0.0.0/8\nexport ISTIO_INBOUND_PORTS='80,443'\n\
                    ENVOY_USER=\"proxy\" \nA=b # c\nNOT A LINE\n1X=2\nHOME_=$HOME\nEMPTY=\n";
        let read = parse_env_file(text);
        let want = [
            ("A", "b"),
            ("EMPTY", ""),
            ("ENVOY_USER", "proxy"),
            ("ISTIO_INBOUND_PORTS", "80,443"),
            ("ISTIO_SERVICE_CIDR", "10.0.0.0/8"),
        ];
        assert_eq!(
            read,
            want.into_iter()
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .collect()
        );
    }
}
