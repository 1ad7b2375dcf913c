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

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use futures_util::FutureExt;
    use tracing::{error_span, info, info_span, subscriber::with_default};
    use tracing_subscriber::fmt;

    use super::*;

    const ID: &str = "r-\"1";

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Kept {
        /// What was written, without its time.
        fn taken(&self) -> String {
            let text = String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap();
            let (time, rest) = text.split_once(['Z']).unwrap();
            assert!(time.contains("T"), "{text}");
            rest.to_owned()
        }
    }

    fn say(within: bool) {
        let line = || info!(number = 1, text = ",\"spans\":[", "said");
        match within {
            true => info_span!("stage", of = "it").in_scope(line),
            false => line(),
        }
    }

    fn in_span(within: bool) {
        error_span!("request", request_id = ID).in_scope(|| say(within));
    }

    fn in_request(within: bool) {
        let served = request::serve(ID.into(), async { say(within) });
        served.now_or_never().unwrap();
    }

    #[test]
    fn lines_are_as_they_are_with_a_span() {
        let kept = Kept::default();
        let to = || {
            let kept = kept.clone();
            fmt().with_ansi(false).with_writer(move || kept.clone())
        };
        for within in [false, true] {
            with_default(to().finish(), || in_span(within));
            let expected = kept.taken();
            let ours = to().event_format(TextLines::default()).finish();
            with_default(ours, || in_request(within));
            assert_eq!(kept.taken(), expected);

            with_default(to().json().finish(), || in_span(within));
            let expected = kept.taken();
            let ours = to().json().map_event_format(JsonLines).finish();
            with_default(ours, || in_request(within));
            assert_eq!(kept.taken(), expected);
        }
    }

    #[test]
    fn a_line_of_no_request_names_none() {
        let kept = Kept::default();
        let own = kept.clone();
        let to = fmt().with_ansi(false).with_writer(move || own.clone());
        with_default(to.event_format(TextLines::default()).finish(), || {
            say(false)
        });
        assert!(!kept.taken().contains("request"));
    }
}
