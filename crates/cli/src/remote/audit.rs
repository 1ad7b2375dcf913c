//! `strongroom audit tail` and `query`: the trail of the node that is asked.

use std::time::Duration;

use strongroom_client::AuditRecord;

use super::{
    connect::To,
    exit::Failure,
    render::{self, line, or_dash},
};

const PAGE: u32 = 1000;
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(clap::Args)]
pub(crate) struct Tail {
    #[command(flatten)]
    to: To,
    /// How many records.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Go on with new ones as they come.
    #[arg(long)]
    follow: bool,
}

#[derive(clap::Args)]
pub(crate) struct Query {
    #[command(flatten)]
    to: To,
    /// Only of this actor: a token's name, `reader`, `node`.
    #[arg(long)]
    actor: Option<String>,
    /// Only this action, such as secret.read.
    #[arg(long)]
    action: Option<String>,
    /// Only on this target.
    #[arg(long)]
    target: Option<String>,
    /// Only with this outcome, such as denied.
    #[arg(long)]
    outcome: Option<String>,
    /// Only after the record of this number.
    #[arg(long, default_value_t = 0)]
    after: u64,
}

impl Query {
    fn wants(&self, record: &AuditRecord) -> bool {
        let pairs = [
            (&self.actor, &record.actor),
            (&self.action, &record.action),
            (&self.target, &record.target),
            (&self.outcome, &record.outcome),
        ];
        let mut pairs = pairs.into_iter();
        pairs.all(|(wanted, found)| wanted.as_ref().is_none_or(|wanted| wanted == found))
    }
}

fn show(to: &To, record: &AuditRecord) -> Result<(), Failure> {
    if to.json {
        return render::json(record);
    }
    let AuditRecord {
        seq,
        time,
        actor,
        action,
        target,
        outcome,
        ..
    } = record;
    let client = or_dash(record.client_ip.as_ref());
    line(&format!(
        "{seq} {time} {actor} {client} {action} {target} {outcome}"
    ))
}

pub(crate) async fn tail(arguments: &Tail) -> Result<(), Failure> {
    let to = &arguments.to;
    let client = to.client()?;
    let mut records = client.audit(None, arguments.limit).await?.records;
    let mut last = 0;
    loop {
        for record in &records {
            show(to, record)?;
            last = record.seq;
        }
        if !arguments.follow {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
        records = client.audit(Some(last), PAGE).await?.records;
    }
}

pub(crate) async fn query(arguments: &Query) -> Result<(), Failure> {
    let to = &arguments.to;
    let client = to.client()?;
    // Each page that is asked for is a record itself: without an end this would follow its own trail.
    let newest = client.audit(None, 1).await?.records;
    let end = newest.last().map_or(0, |record| record.seq);
    let mut after = arguments.after;
    while after < end {
        let page = client.audit(Some(after), PAGE).await?;
        let wanted = page.records.iter().filter(|record| record.seq <= end);
        for record in wanted.filter(|record| arguments.wants(record)) {
            show(to, record)?;
        }
        // A page may be shorter than asked for: the end is where there is none.
        match page.records.last() {
            Some(last) => after = last.seq,
            None => break,
        }
    }
    Ok(())
}
