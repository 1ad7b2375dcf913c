//! Log lines, to standard error.

use std::io::IsTerminal;

use tracing_subscriber::{
    EnvFilter, Layer, Registry, layer::SubscriberExt, util::SubscriberInitExt,
};

use crate::{settings::LogFormat, traces::Traces};

/// Libraries that may write more than their errors only if it were safe: openraft logs entries, the AWS
/// SDK can be told by its own environment to log bodies, and those hold data keys.
const QUIET: &str = "openraft=off,sled=error,hyper=warn,aws_config=warn,aws_runtime=warn,\
    aws_sdk_kms=warn,aws_sigv4=warn,aws_smithy_http_client=warn,aws_smithy_runtime=warn,\
    aws_smithy_runtime_api=warn";

/// Starts logging, with what `filter` says of Strongroom's own lines; and tracing, whatever it says.
///
/// The quiet list is a filter of its own: in one list, what is more specific would win over it.
pub fn start(filter: &str, format: LogFormat, traces: Option<&Traces>) {
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    let quiet = EnvFilter::new(format!("trace,{QUIET}"));
    let filter = EnvFilter::new(filter);
    let lines = lines.with_filter(quiet).with_filter(filter);
    let traces = traces.map(Traces::layer);
    tracing_subscriber::registry()
        .with(lines)
        .with(traces)
        .init();
}
