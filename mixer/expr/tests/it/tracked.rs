//! What evaluation tells of what it read (`spec 02` §2.8), and outputs of adapters above the attributes of a request.

use mixer_attribute::{Bag, References, StringMap, Value, ValueType, Vocabulary};
use mixer_expr::{Overlay, compile};

fn vocabulary() -> Vocabulary {
    let mut vocabulary = Vocabulary::default();
    for (name, value_type) in [
        ("a", ValueType::String),
        ("b", ValueType::String),
        ("m", ValueType::StringMap),
        ("n", ValueType::StringMap),
    ] {
        vocabulary.add(name, value_type).unwrap();
    }
    vocabulary
}

/// What was read of a bag with `a` and `m`, present and absent.
fn read(text: &str) -> String {
    let vocabulary = vocabulary();
    let mut bag = Bag::new(&vocabulary);
    bag.set(vocabulary.id("a").unwrap(), Value::from("1"));
    let map = StringMap::borrowed([("k", "v")]);
    bag.set(vocabulary.id("m").unwrap(), Value::StringMap(map));
    let program = compile(text, &vocabulary).unwrap();
    let mut references = References::default();
    let _ = program.evaluate(&bag, &mut references);
    let sign = |present| if present { "" } else { "!" };
    let mut read: Vec<String> = references
        .attributes()
        .map(|(id, present)| format!("{}{}", sign(present), vocabulary.name(id)))
        .collect();
    read.extend(
        references
            .keys()
            .map(|(id, key, present)| format!("{}{}[{key}]", sign(present), vocabulary.name(id))),
    );
    read.join(" ")
}

#[test]
fn what_is_read_is_told() {
    for (expression, expected) in [
        ("a", "a"),
        ("b", "!b"),
        ("b | a", "a !b"),
        ("a | b", "a"),
        ("a == \"1\" || b == \"\"", "a"),
        ("a == \"2\" || b == \"\"", "a !b"),
        ("a == \"2\" && b == \"\"", "a"),
        ("conditional(a == \"1\", \"x\", b)", "a"),
        ("conditional(a == \"1\", b, \"x\")", "a !b"),
        ("m", "m"),
        ("m | emptyStringMap()", "m"),
        ("n | m", "m !n"),
        ("conditional(a == \"1\", m, n)", "a m"),
        ("n", "!n"),
        ("n | emptyStringMap()", "!n"),
        ("m[\"k\"]", "m[k]"),
        ("m[\"l\"]", "!m[l]"),
        ("m[\"l\"] | a", "a !m[l]"),
        ("n[\"k\"] | a", "a !n"),
        ("m[a] | b", "a !b !m[1]"),
        ("(n | m)[\"k\"]", "!n m[k]"),
        ("conditional(true, m, n)[\"k\"]", "m[k]"),
        ("emptyStringMap()[\"k\"]", ""),
        ("\"x\" | a", ""),
    ] {
        assert_eq!(read(expression), expected, "{expression}");
    }
}

/// `spec 02` §5.8, §6.5: both prefixes name one output; unset ones are absent; the request shows through; and what is
/// read of outputs is nobody's business.
#[test]
fn outputs_lie_above_the_request() {
    let base = vocabulary();
    let mut names = base.clone();
    let name = names.add("$out.name", ValueType::String).unwrap();
    names.add("$out.owner", ValueType::String).unwrap();
    names.alias("output.name", name).unwrap();
    let mut bag = Bag::new(&base);
    bag.set(base.id("a").unwrap(), Value::from("request"));
    let mut overlay = Overlay::new(&bag, base.len(), names.len() - base.len());
    overlay.set(name, Value::from("pod"));
    for (expression, expected) in [
        ("$out.name", "pod"),
        ("output.name", "pod"),
        ("$out.owner | \"unknown\"", "unknown"),
        ("$out.owner | a", "request"),
        ("b | output.name", "pod"),
    ] {
        let program = compile(expression, &names).unwrap();
        let mut references = References::default();
        let mut track = overlay.track(&mut references);
        assert_eq!(
            program.evaluate(&overlay, &mut track),
            Ok(Value::from(expected)),
            "{expression}"
        );
        assert!(references.attributes().all(|(id, _)| id.index() < base.len()));
    }
    let error = compile("$out.owner", &names).map(|program| {
        program
            .evaluate(&overlay, &mut References::default())
            .map_err(|error| error.to_string())
            .map(Value::into_owned)
    });
    assert_eq!(error.unwrap(), Err("lookup failed: '$out.owner'".to_owned()));
    assert!(compile("$out.nothing", &names).is_err());
}
