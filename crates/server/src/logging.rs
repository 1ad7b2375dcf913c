//! Log lines, to standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::settings::LogFormat;

/// Libraries that may write more than their errors only if it were safe: openraft logs entries, the AWS
/// SDK can be told by its own environment to log bodies, and those hold data keys.
const QUIET: &str = "openraft=off,sled=error,hyper=warn,aws_config=warn,aws_runtime=warn,\
    aws_sdk_kms=warn,aws_sigv4=warn,aws_smithy_http_client=warn,aws_smithy_runtime=warn,\
    aws_smithy_runtime_api=warn";

/// Starts logging, with what `filter` says of Strongroom's own lines.
pub fn start(filter: &str, format: LogFormat) {
    let filter = EnvFilter::new(format!("{filter},{QUIET}"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().init(),
    }
}
