//! From names and values to messages (`spec 02` §2.2), and the answers to a Check, whose fields that are always set are
//! always there (§2.1).

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use mesh_api::google::rpc::Status;
use mesh_api::istio::mixer::v1::check_response::{PreconditionResult, QuotaResult};
use mesh_api::istio::mixer::v1::referenced_attributes::{AttributeMatch, Condition};
use mesh_api::istio::mixer::v1::report_request::RepeatedAttributesSemantics;
use mesh_api::istio::mixer::v1::{
    self, CheckRequest, CompressedAttributes, ReferencedAttributes, ReportRequest, RouteDirective,
    check_request,
};

use crate::dictionary;
use crate::request::{QuotaParams, Semantics};
use crate::track::References;
use crate::value::Value;
use crate::vocabulary::Vocabulary;

/// Attributes that are sent, by name.
pub type Attributes<'a> = BTreeMap<String, Sent<'a>>;

/// What is sent of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Sent<'a> {
    /// A value.
    Value(Value<'a>),
    /// Any bytes: an address that may be none.
    Bytes(Vec<u8>),
}

/// Finds the indices of words, and gathers those that have to be in the message.
#[derive(Clone, Debug)]
pub struct WordList {
    /// How many words of the global dictionary the other side knows.
    global: usize,
    own: Vec<String>,
    indices: HashMap<String, i32>,
}

/// A set cannot be told as what changed since the one before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("attribute {name} was in the set before, and cannot be taken out")]
pub struct Lost {
    /// The attribute.
    pub name: String,
}

// === impl WordList ===

impl WordList {
    /// A list for somebody who knows so many words of the global dictionary.
    #[must_use]
    pub fn new(global_word_count: u32) -> Self {
        Self {
            global: usize::try_from(global_word_count)
                .map_or(dictionary::LEN, |count| count.min(dictionary::LEN)),
            own: Vec::new(),
            indices: HashMap::new(),
        }
    }

    /// The index of a word, which becomes one of the message if it is not of the global dictionary.
    pub fn index(&mut self, word: &str) -> i32 {
        match dictionary::number(word).filter(|number| *number < self.global) {
            Some(number) => i32::try_from(number).unwrap_or(i32::MAX),
            None => self.own_index(word),
        }
    }

    /// The index of a word of the message.
    fn own_index(&mut self, word: &str) -> i32 {
        if let Some(index) = self.indices.get(word) {
            return *index;
        }
        let index = !i32::try_from(self.own.len()).unwrap_or(i32::MAX);
        self.own.push(word.to_owned());
        self.indices.insert(word.to_owned(), index);
        index
    }

    /// The words that have to be in the message.
    #[must_use]
    pub fn into_words(self) -> Vec<String> {
        self.own
    }
}

/// The set of some attributes. The words are left to whoever has them.
fn set<'s>(
    attributes: impl IntoIterator<Item = (&'s String, &'s Sent<'s>)>,
    words: &mut WordList,
) -> CompressedAttributes {
    let mut set = CompressedAttributes::default();
    for (name, sent) in attributes {
        let name = words.index(name);
        match sent {
            Sent::Bytes(bytes) => {
                set.bytes.insert(name, bytes.clone().into());
            }
            Sent::Value(value) => put(&mut set, words, name, value),
        }
    }
    set
}

fn put(set: &mut CompressedAttributes, words: &mut WordList, name: i32, value: &Value<'_>) {
    match value {
        Value::String(text) => {
            set.strings.insert(name, words.index(text));
        }
        Value::Int64(value) => {
            set.int64s.insert(name, *value);
        }
        Value::Double(value) => {
            set.doubles.insert(name, *value);
        }
        Value::Bool(value) => {
            set.bools.insert(name, *value);
        }
        Value::Timestamp(value) => {
            set.timestamps.insert(name, *value);
        }
        Value::Duration(value) => {
            set.durations.insert(name, *value);
        }
        Value::IpAddress(address) => {
            let octets = match address {
                IpAddr::V4(address) => address.octets().to_vec(),
                IpAddr::V6(address) => address.octets().to_vec(),
            };
            set.bytes.insert(name, octets.into());
        }
        Value::StringMap(map) => {
            let mut entries = BTreeMap::new();
            map.for_each(|key, value| {
                entries.insert(words.index(key), words.index(value));
            });
            set.string_maps.insert(name, v1::StringMap { entries });
        }
    }
}

/// A request to check attributes and to allocate quotas, for a server that knows so many words.
#[must_use]
pub fn check_request(
    attributes: &Attributes<'_>,
    quotas: &BTreeMap<String, QuotaParams>,
    deduplication_id: String,
    global_word_count: u32,
) -> CheckRequest {
    let mut words = WordList::new(global_word_count);
    let mut set = set(attributes, &mut words);
    set.words = words.into_words();
    let quotas = quotas.iter().map(|(name, params)| {
        let params = check_request::QuotaParams {
            amount: params.amount,
            best_effort: params.best_effort,
        };
        (name.clone(), params)
    });
    CheckRequest {
        attributes: Some(set),
        global_word_count,
        deduplication_id,
        quotas: quotas.collect(),
    }
}

/// A report of several sets, which share their words, for a server that knows so many.
///
/// # Errors
///
/// If sets are to be told by what changed, and an attribute is gone.
pub fn report_request(
    sets: &[Attributes<'_>],
    semantics: Semantics,
    global_word_count: u32,
) -> Result<ReportRequest, Lost> {
    let mut words = WordList::new(global_word_count);
    let mut attributes = Vec::new();
    let mut said = &Attributes::new();
    for all in sets {
        attributes.push(match semantics {
            Semantics::Independent => set(all, &mut words),
            Semantics::Delta => {
                if let Some(name) = said.keys().find(|name| !all.contains_key(*name)) {
                    return Err(Lost { name: name.clone() });
                }
                let changed = all.iter().filter(|(name, sent)| said.get(*name) != Some(*sent));
                set(changed, &mut words)
            }
        });
        said = all;
    }
    Ok(ReportRequest {
        attributes,
        repeated_attributes_semantics: match semantics {
            Semantics::Delta => RepeatedAttributesSemantics::DeltaEncoding,
            Semantics::Independent => RepeatedAttributesSemantics::IndependentEncoding,
        }
        .into(),
        default_words: words.into_words(),
        global_word_count,
    })
}

/// What was read to find an answer, for a client that knows so many words (`spec 02` §2.8).
#[must_use]
pub fn referenced_attributes(
    references: &References,
    vocabulary: &Vocabulary,
    global_word_count: u32,
) -> ReferencedAttributes {
    let mut words = WordList::new(global_word_count);
    let condition = |present| {
        if present {
            Condition::Exact
        } else {
            Condition::Absence
        }
    };
    let mut matches = Vec::new();
    for (id, present) in references.attributes() {
        matches.push(AttributeMatch {
            name: words.index(vocabulary.name(id)),
            condition: condition(present).into(),
            ..Default::default()
        });
    }
    for (id, key, present) in references.keys() {
        matches.push(AttributeMatch {
            name: words.index(vocabulary.name(id)),
            condition: condition(present).into(),
            // 0 is "no key", though it is a word, too.
            map_key: match words.index(key) {
                0 => words.own_index(key),
                index => index,
            },
            ..Default::default()
        });
    }
    ReferencedAttributes {
        words: words.into_words(),
        attribute_matches: matches,
    }
}

/// Whether a request may pass. `status` is what it is without details, which stay with us.
#[must_use]
pub fn precondition_result(
    code: i32,
    message: String,
    valid_duration: Duration,
    valid_use_count: i32,
    referenced_attributes: ReferencedAttributes,
    route_directive: Option<RouteDirective>,
) -> PreconditionResult {
    PreconditionResult {
        status: Some(Status {
            code,
            message,
            details: Vec::new(),
        }),
        valid_duration: Some(duration(valid_duration)),
        valid_use_count,
        referenced_attributes: Some(referenced_attributes),
        route_directive,
    }
}

/// What is granted of a quota.
#[must_use]
pub fn quota_result(
    granted_amount: i64,
    valid_duration: Duration,
    referenced_attributes: ReferencedAttributes,
) -> QuotaResult {
    QuotaResult {
        valid_duration: Some(duration(valid_duration)),
        granted_amount,
        referenced_attributes: Some(referenced_attributes),
    }
}

/// The longest one if it is longer.
fn duration(duration: Duration) -> prost_types::Duration {
    let longest = prost_types::Duration {
        seconds: 315_576_000_000,
        nanos: 0,
    };
    match prost_types::Duration::try_from(duration) {
        Ok(duration) if duration.seconds < longest.seconds => duration,
        _ => longest,
    }
}
