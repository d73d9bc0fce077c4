//! The few parts of the DNS message format (RFC 1035) that answering A queries over UDP needs.

use std::net::Ipv4Addr;

/// Longest answer without extensions.
const MAX_MESSAGE: usize = 512;
/// Seconds that an answer may be kept.
const TTL: u32 = 5;
const CLASS_IN: u16 = 1;
pub(super) const TYPE_A: u16 = 1;
pub(super) const TYPE_CNAME: u16 = 5;

/// A query with one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Query {
    id: u16,
    recursion_desired: bool,
    /// The name asked for: lower case, without the final dot.
    pub(super) name: String,
    /// The type asked for.
    pub(super) kind: u16,
    /// The question as it came, to be repeated.
    question: Vec<u8>,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The name does not exist.
    NoSuchName,
    /// The name exists; these are the records of the type asked for.
    Records(Vec<Record>),
    /// The server does not do such things.
    NotImplemented,
}

/// A resource record of the name that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// An address.
    A(Ipv4Addr),
    /// The name's proper name.
    Cname(String),
}

// === impl Query ===

impl Query {
    /// Reads a query; `None` for anything that is not exactly one question, which deserves no answer.
    pub(super) fn parse(message: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]));
        let (id, flags, questions) = (word(0)?, word(2)?, word(4)?);
        let is_query = flags & 0x8000 == 0 && flags & 0x7800 == 0;
        if !is_query || questions != 1 {
            return None;
        }
        let mut labels: Vec<String> = Vec::new();
        let mut at = 12;
        loop {
            let length = usize::from(*message.get(at)?);
            at += 1;
            match length {
                0 => break,
                // A question has nothing to point back to.
                1..=63 => {
                    let label = message.get(at..at + length)?;
                    labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
                    at += length;
                }
                _ => return None,
            }
        }
        let (kind, class) = (word(at)?, word(at + 2)?);
        Some(Self {
            id,
            recursion_desired: flags & 0x0100 != 0,
            name: labels.join("."),
            kind: if class == CLASS_IN { kind } else { 0 },
            question: message.get(12..at + 4)?.to_vec(),
        })
    }

    /// The message that answers this query.
    pub(super) fn respond(&self, answer: &Answer) -> Vec<u8> {
        let (code, records) = match answer {
            Answer::NoSuchName => (3, &[][..]),
            Answer::Records(records) => (0, records.as_slice()),
            Answer::NotImplemented => (4, &[][..]),
        };
        // Response, authoritative, recursion available.
        let flags = 0x8480 | (u16::from(self.recursion_desired) << 8) | code;
        let mut message = Vec::with_capacity(MAX_MESSAGE);
        for word in [self.id, flags, 1, 0, 0, 0] {
            message.extend(word.to_be_bytes());
        }
        message.extend(&self.question);
        let mut count: u16 = 0;
        for record in records {
            let (kind, data) = match record {
                Record::A(address) => (TYPE_A, address.octets().to_vec()),
                Record::Cname(name) => (TYPE_CNAME, encode_name(name)),
            };
            if message.len() + 12 + data.len() > MAX_MESSAGE {
                break;
            }
            // The name is that of the question, at offset 12.
            message.extend([0xc0, 12]);
            message.extend(kind.to_be_bytes());
            message.extend(CLASS_IN.to_be_bytes());
            message.extend(TTL.to_be_bytes());
            message.extend(u16::try_from(data.len()).unwrap_or_default().to_be_bytes());
            message.extend(data);
            count += 1;
        }
        message[6..8].copy_from_slice(&count.to_be_bytes());
        message
    }
}

fn encode_name(name: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(name.len() + 2);
    for label in name.split('.').filter(|label| !label.is_empty()) {
        let label = &label.as_bytes()[..label.len().min(63)];
        bytes.push(u8::try_from(label.len()).unwrap_or_default());
        bytes.extend(label);
    }
    bytes.push(0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(name: &str, kind: u16) -> Vec<u8> {
        let mut message = vec![0x12, 0x34, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
        message.extend(encode_name(name));
        message.extend(kind.to_be_bytes());
        message.extend(CLASS_IN.to_be_bytes());
        message
    }

    #[test]
    fn a_query_is_read_without_regard_to_case() {
        let query = Query::parse(&query("Forecast.weather.SVC", TYPE_A)).unwrap();
        assert_eq!(
            (query.name.as_str(), query.kind),
            ("forecast.weather.svc", TYPE_A)
        );
    }

    #[test]
    fn an_answer_repeats_the_question_and_points_to_its_name() {
        let asked = query("a.b", TYPE_A);
        let answer = Answer::Records(vec![Record::A(Ipv4Addr::new(10, 96, 1, 2))]);
        let message = Query::parse(&asked).unwrap().respond(&answer);
        assert_eq!(message[..12], [0x12, 0x34, 0x85, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
        assert_eq!(message[12..asked.len()], asked[12..]);
        assert_eq!(
            message[asked.len()..],
            [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 10, 96, 1, 2]
        );
    }

    #[test]
    fn errors_carry_their_code() {
        let query = Query::parse(&query("a", TYPE_A)).unwrap();
        assert_eq!(query.respond(&Answer::NoSuchName)[3] & 0x0f, 3);
        assert_eq!(query.respond(&Answer::NotImplemented)[3] & 0x0f, 4);
    }

    #[test]
    fn garbage_is_no_query_and_never_panics() {
        let good = query("forecast", TYPE_A);
        for length in 0..good.len() {
            assert_eq!(Query::parse(&good[..length]), None);
        }
        let mut response = good.clone();
        response[2] |= 0x80;
        assert_eq!(Query::parse(&response), None);
        let mut pointer = good;
        pointer[12] = 0xc0;
        assert_eq!(Query::parse(&pointer), None);
    }

    #[test]
    fn an_answer_never_exceeds_what_fits() {
        let records = (0..=255)
            .map(|n| Record::A(Ipv4Addr::new(10, 44, 0, n)))
            .collect();
        let message = Query::parse(&query("headless", TYPE_A))
            .unwrap()
            .respond(&Answer::Records(records));
        assert!(message.len() <= MAX_MESSAGE);
        assert!(u16::from_be_bytes([message[6], message[7]]) > 20);
    }
}
