//! Lines that name the request they are written for, as a span of it would: `request{request_id="…"}`.

use std::fmt;

use strongroom_seal::request;
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{Format, Full, Json, Writer},
        time::{FormatTime, SystemTime},
    },
    registry::LookupSpan,
};

/// Lines for people.
pub(super) struct TextLines {
    whole: Format<Full>,
    /// What follows the spans' names.
    rest: Format<Full, ()>,
}

impl Default for TextLines {
    fn default() -> Self {
        Self {
            whole: Format::default(),
            rest: Format::default().without_time().with_level(false),
        }
    }
}

impl<S, N> FormatEvent<S, N> for TextLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(named) = request::with_id(|id| format!("request{{request_id={id:?}}}:")) else {
            return self.whole.format_event(context, writer, event);
        };
        SystemTime.format_time(&mut writer)?;
        write!(writer, " {:>5} {named}", event.metadata().level())?;
        // The names of spans follow one another; a space ends them.
        if context
            .event_scope()
            .is_none_or(|mut spans| spans.next().is_none())
        {
            writer.write_char(' ')?;
        }
        self.rest.format_event(context, writer, event)
    }
}

/// Lines for machines.
pub(super) struct JsonLines(pub(super) Format<Json>);

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let quoted = |id: &str| serde_json::Value::from(id).to_string();
        let Some(id) = request::with_id(quoted) else {
            return self.0.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.0
            .format_event(context, Writer::new(&mut line), event)?;
        writer.write_str(&named(&line, &id))
    }
}

/// Where the list of spans begins in a line. In a text of its fields, the quotes would be escaped.
const SPANS: &str = ",\"spans\":[";

/// The line with the request as its outermost span.
fn named(line: &str, id: &str) -> String {
    let span = format!("{{\"request_id\":{id},\"name\":\"request\"}}");
    if let Some((before, inner)) = line.rsplit_once(SPANS) {
        return format!("{before}{SPANS}{span},{inner}");
    }
    let open = line.trim_end();
    let open = open.strip_suffix('}').unwrap_or(open);
    format!("{open},\"span\":{span}{SPANS}{span}]}}\n")
}
