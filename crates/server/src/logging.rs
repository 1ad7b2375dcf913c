//! Log lines, to standard error.

use std::{
    io::IsTerminal,
    sync::atomic::{AtomicBool, Ordering},
};

use tracing_subscriber::{
    EnvFilter, Layer, Registry, filter::LevelFilter, filter::Targets, layer::Filter,
    layer::SubscriberExt, util::SubscriberInitExt,
};

use crate::{settings::LogFormat, traces::Traces};

mod lines;

use lines::{JsonLines, TextLines};

/// Libraries that may write more than their errors only if it were safe: openraft logs entries, the AWS
/// SDK can be told by its own environment to log bodies, and those hold data keys.
const QUIET: &str = "openraft=off,sled=error,hyper=warn,aws_config=warn,aws_runtime=warn,\
    aws_sdk_kms=warn,aws_sigv4=warn,aws_smithy_http_client=warn,aws_smithy_runtime=warn,\
    aws_smithy_runtime_api=warn";

/// Whether lines are written that name the request by themselves.
static NAME_REQUESTS: AtomicBool = AtomicBool::new(false);

/// Whether log lines say by themselves for which request they are, without a span of it.
pub(crate) fn name_requests() -> bool {
    NAME_REQUESTS.load(Ordering::Relaxed)
}

/// Starts logging, with what `filter` says of Strongroom's own lines; and tracing, whatever it says.
///
/// The quiet list is a filter of its own: in one list, what is more specific would win over it.
pub fn start(filter: &str, format: LogFormat, traces: Option<&Traces>) {
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    // In colours, a request is named by its span; and a filter may ask for spans.
    let in_colours = std::io::stderr().is_terminal() && format == LogFormat::Text;
    let by_lines = !in_colours && targets(filter).is_some();
    NAME_REQUESTS.store(by_lines, Ordering::Relaxed);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Text if in_colours => lines.with_ansi(true).boxed(),
        LogFormat::Text => lines
            .with_ansi(false)
            .event_format(TextLines::default())
            .boxed(),
        LogFormat::Json => lines
            .with_ansi(false)
            .json()
            .map_event_format(JsonLines)
            .boxed(),
    };
    let quiet = chosen(&format!("trace,{QUIET}"));
    let lines = lines.with_filter(quiet).with_filter(chosen(filter));
    let traces = traces.map(Traces::layer);
    tracing_subscriber::registry()
        .with(lines)
        .with(traces)
        .init();
}

type Chosen = Box<dyn Filter<Registry> + Send + Sync>;

/// A filter that knows each place once and for all, if it is made of levels and targets. What says more
/// has to be asked whenever a span is made, entered or left.
fn chosen(filter: &str) -> Chosen {
    match targets(filter) {
        Some(targets) => Box::new(targets),
        None => Box::new(EnvFilter::new(filter)),
    }
}

fn targets(filter: &str) -> Option<Targets> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let is_plain = filter.split(',').all(|part| match part.split_once('=') {
        Some((target, level)) => {
            !target.is_empty() && target.chars().all(is_name) && is_level(level)
        }
        None => is_level(part),
    });
    is_plain.then(|| filter.parse().ok()).flatten()
}

fn is_level(text: &str) -> bool {
    !text.is_empty() && text.parse::<LevelFilter>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_targets_are_known_once_and_for_all() {
        for plain in [
            "info",
            "warn,strongroom_raft=debug",
            "off",
            QUIET,
            "a::b=TRACE,5",
        ] {
            assert!(targets(plain).is_some(), "{plain}");
        }
        for more in [
            "",
            "info,",
            "strongroom",
            "a[b]=info",
            "[{request_id=1}]=debug",
            "a=",
            "a=b=info",
        ] {
            assert!(targets(more).is_none(), "{more}");
        }
        let some = targets("warn,strongroom_raft=debug").unwrap();
        let (debug, warn) = (&tracing::Level::DEBUG, &tracing::Level::WARN);
        assert!(some.would_enable("strongroom_raft::log", debug));
        assert!(!some.would_enable("strongroom_server", debug));
        assert!(some.would_enable("strongroom_server", warn));
    }
}
