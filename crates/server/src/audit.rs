//! Checking an audit directory, for the command line.

use std::path::Path;

use strongroom_service::audit::HeadCheck;

/// Checks the chain in `dir`.
///
/// # Errors
/// The first record that does not fit, in words.
pub fn verify(dir: &Path) -> Result<String, String> {
    match strongroom_service::audit::verify(dir) {
        Ok(report) if report.head == HeadCheck::Absent => Err(format!(
            "{}: the head file is missing, so a cut of the end would not show; {} records fit",
            dir.join("head").display(),
            report.records
        )),
        Ok(report) => {
            let head = match report.head {
                HeadCheck::Matches => "names the last record",
                HeadCheck::Behind => "names an earlier record, as it may right after a crash",
                HeadCheck::Absent => "is missing",
            };
            let mut text = format!(
                "{} records in {} files fit, from {} to {}; the head file {head}",
                report.records, report.files, report.first_seq, report.last_seq
            );
            for torn in &report.torn {
                text.push_str(&format!("\nset aside after a crash: {}", torn.display()));
            }
            Ok(text)
        }
        Err(bad) => Err(bad.to_string()),
    }
}
