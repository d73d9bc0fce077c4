//! Log lines in Istio's shape.
//!
//! Text: `time<TAB>level<TAB>[scope<TAB>][file:line<TAB>]message field=value span{field=value}`.
//! JSON: `{"level":..,"time":..,"scope":..,"caller":..,"msg":..,<fields>,"spans":{<span>:{<fields>}}}`.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use super::scopes::ScopeTable;

/// Formats an event as one line.
pub(super) struct Lines {
    pub(super) json: bool,
    pub(super) scopes: Arc<ScopeTable>,
}

/// Formats the fields of spans and events: ` key=value` each, or `"key":value` with commas between.
#[derive(Clone, Copy)]
pub(super) struct Fields {
    pub(super) json: bool,
}

/// Collects the fields of one event or span.
struct Collector {
    json: bool,
    message: String,
    fields: String,
}

// === impl Lines ===

impl<S> FormatEvent<S, Fields> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, Fields>,
        writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut collected = Collector::new(self.json);
        event.record(&mut collected);
        if self.json {
            self.json_line(ctx, writer, event, &collected)
        } else {
            self.text_line(ctx, writer, event, &collected)
        }
    }
}

impl Lines {
    fn text_line<S>(
        &self,
        ctx: &FmtContext<'_, S, Fields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
        collected: &Collector,
    ) -> fmt::Result
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        SystemTime.format_time(&mut writer)?;
        write!(writer, "\t{}\t", level(event))?;
        let scope = self.scopes.scope_of(event.metadata().target());
        if let Some(scope) = scope {
            write!(writer, "{scope}\t")?;
        }
        if let Some(caller) = self.caller(scope, event) {
            write!(writer, "{caller}\t")?;
        }
        write!(writer, "{}{}", Escaped(&collected.message), collected.fields)?;
        for span in ctx.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            write!(writer, " {}", span.name())?;
            if let Some(fields) = span.extensions().get::<FormattedFields<Fields>>() {
                let fields = fields.trim_start();
                if !fields.is_empty() {
                    write!(writer, "{{{fields}}}")?;
                }
            }
        }
        writeln!(writer)
    }

    fn json_line<S>(
        &self,
        ctx: &FmtContext<'_, S, Fields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
        collected: &Collector,
    ) -> fmt::Result
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        write!(writer, "{{\"level\":\"{}\",\"time\":\"", level(event))?;
        SystemTime.format_time(&mut writer)?;
        let scope = self.scopes.scope_of(event.metadata().target());
        write!(writer, "\",\"scope\":{}", Value::from(scope.unwrap_or("default")))?;
        if let Some(caller) = self.caller(scope, event) {
            write!(writer, ",\"caller\":{}", Value::from(caller))?;
        }
        write!(writer, ",\"msg\":{}", Value::from(collected.message.as_str()))?;
        if !collected.fields.is_empty() {
            write!(writer, ",{}", collected.fields)?;
        }
        let mut open = false;
        for span in ctx.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            writer.write_str(if open { "," } else { ",\"spans\":{" })?;
            open = true;
            let extensions = span.extensions();
            let fields = extensions
                .get::<FormattedFields<Fields>>()
                .map_or("", |fields| fields.fields.as_str());
            write!(writer, "{}:{{{fields}}}", Value::from(span.name()))?;
        }
        writeln!(writer, "{}}}", if open { "}" } else { "" })
    }

    fn caller(&self, scope: Option<&str>, event: &Event<'_>) -> Option<String> {
        if !self.scopes.logs_caller(scope) {
            return None;
        }
        let metadata = event.metadata();
        Some(format!("{}:{}", metadata.file()?, metadata.line()?))
    }
}

fn level(event: &Event<'_>) -> &'static str {
    match *event.metadata().level() {
        tracing::Level::ERROR => "error",
        tracing::Level::WARN => "warn",
        tracing::Level::INFO => "info",
        tracing::Level::DEBUG | tracing::Level::TRACE => "debug",
    }
}

// === impl Fields ===

impl<'writer> FormatFields<'writer> for Fields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut collected = Collector::new(self.json);
        fields.record(&mut collected);
        writer.write_str(&collected.fields)
    }

    fn add_fields(
        &self,
        current: &'writer mut FormattedFields<Self>,
        fields: &tracing::span::Record<'_>,
    ) -> fmt::Result {
        let mut collected = Collector::new(self.json);
        fields.record(&mut collected);
        if self.json && !current.fields.is_empty() && !collected.fields.is_empty() {
            current.fields.push(',');
        }
        current.fields.push_str(&collected.fields);
        Ok(())
    }
}

// === impl Collector ===

impl Collector {
    fn new(json: bool) -> Self {
        Self {
            json,
            message: String::new(),
            fields: String::new(),
        }
    }

    fn add(&mut self, field: &Field, value: &Value) {
        let name = field.name();
        // Writing to a String cannot fail.
        let _infallible = if self.json {
            let comma = if self.fields.is_empty() { "" } else { "," };
            // A field must not be mistaken for one of the line's own.
            let suffix = if matches!(name, "level" | "time" | "scope" | "caller" | "msg" | "spans") {
                "_"
            } else {
                ""
            };
            write!(self.fields, "{comma}\"{name}{suffix}\":{value}")
        } else {
            match value {
                Value::String(text) if is_plain(text) => write!(self.fields, " {name}={text}"),
                Value::String(text) => write!(self.fields, " {name}={text:?}"),
                other => write!(self.fields, " {name}={other}"),
            }
        };
    }

    fn add_text(&mut self, field: &Field, text: String) {
        if field.name() == "message" {
            self.message = text;
        } else {
            self.add(field, &Value::String(text));
        }
    }
}

impl Visit for Collector {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, &Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, &Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, &Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, &Value::from(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add_text(field, value.to_owned());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.add_text(field, crate::error_chain(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add_text(field, format!("{value:?}"));
    }
}

/// Whether a value needs no quotes to be told from its neighbours.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '"' || c == '=')
}

/// Text without control characters, so that what a peer sends cannot forge lines or colours.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if c.is_control() {
                write!(f, "{}", c.escape_default())?
            } else {
                f.write_char(c)?
            }
        }
        Ok(())
    }
}
