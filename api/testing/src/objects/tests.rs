use std::collections::BTreeSet;

use super::*;

#[test]
fn most_choices_lead_to_an_object_of_every_kind() {
    for kind in KINDS {
        let mut choices = Choices::seeded(7);
        let made = (0..40)
            .filter(|_| admitted(kind, "a", &mut choices).is_some())
            .count();
        assert!(made >= 24, "{kind}: {made} of 40");
    }
}

#[test]
fn equal_choices_make_equal_objects() {
    for kind in KINDS {
        let [a, b] = [1, 1].map(|seed| object(kind, "a", &mut Choices::seeded(seed)));
        assert_eq!(a, b);
    }
}

#[test]
fn an_end_of_bytes_is_an_end_of_choices() {
    for kind in KINDS {
        for length in [0, 1, 10, 100] {
            object(kind, "a", &mut Choices::of_bytes(&vec![0x5a; length]));
        }
    }
}

/// What validation refuses wherever it stands in a VirtualService.
const REFUSED: &[&str] = &[
    "istio.networking.v1alpha3.HTTPFaultInjection.Delay.exponential_delay",
    "istio.networking.v1alpha3.HTTPFaultInjection.Abort.grpc_status",
    "istio.networking.v1alpha3.HTTPFaultInjection.Abort.http2_error",
    "istio.networking.v1alpha3.PortSelector.name",
];

/// `R-N-13`: a field that is never written is never judged.
#[test]
fn every_field_and_every_word_that_validation_admits_is_written() {
    for kind in KINDS {
        let descriptor = mesh_api::descriptors()
            .get_message_by_name(kind.schema().message)
            .unwrap();
        let mut missing = BTreeSet::new();
        expect(&descriptor, &mut missing);
        if kind == Kind::VirtualService {
            missing.retain(|name| !REFUSED.contains(&name.as_str()));
        }
        for seed in 0..3_000 {
            if missing.is_empty() {
                break;
            }
            if let Some(config) = admitted(kind, "a", &mut Choices::seeded(seed)) {
                meet(&descriptor, &decode::to_json(&config)["spec"], &mut missing);
            }
        }
        assert!(missing.is_empty(), "{kind}: never admitted: {missing:#?}");
    }
}

/// Adds the fields of a message and of the messages in it, and the words of their enumerations except for the defaults.
fn expect(descriptor: &MessageDescriptor, names: &mut BTreeSet<String>) {
    for field in descriptor.fields() {
        if !names.insert(field.full_name().to_owned()) {
            continue;
        }
        match field.kind() {
            FieldKind::Message(inner) if !inner.full_name().starts_with("google.") => expect(&inner, names),
            FieldKind::Enum(words) => {
                let words = words.values().filter(|word| word.number() != 0);
                names.extend(words.map(|word| word.full_name().to_owned()));
            }
            _ => {}
        }
    }
}

/// Takes away what is written.
fn meet(descriptor: &MessageDescriptor, value: &Value, names: &mut BTreeSet<String>) {
    for field in descriptor.fields() {
        let Some(value) = value.get(field.json_name()) else {
            continue;
        };
        names.remove(field.full_name());
        let items = match value {
            Value::Array(items) => items.iter().collect(),
            Value::Object(entries) if field.is_map() => entries.values().collect(),
            value => vec![value],
        };
        let kind = match field.kind() {
            FieldKind::Message(entry) if field.is_map() => {
                names.remove(entry.map_entry_key_field().full_name());
                names.remove(entry.map_entry_value_field().full_name());
                entry.map_entry_value_field().kind()
            }
            kind => kind,
        };
        for item in items {
            match &kind {
                FieldKind::Message(inner) => meet(inner, item, names),
                FieldKind::Enum(words) => {
                    let word = words.values().find(|word| item == word.name());
                    word.inspect(|word| {
                        names.remove(word.full_name());
                    });
                }
                _ => {}
            }
        }
    }
}
