//! Records through the audit trail into a temporary directory, by one caller and by 64 at once. A record
//! counts once its write is answered.

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use strongroom_service::audit::{Audit, AuditConfig, Entry, SLOW_WRITE, SyncPolicy};
use tokio::runtime::{Builder, Runtime};

/// The defaults of `VAULT_AUDIT_SYNC` and `VAULT_AUDIT_FILE_BYTES`.
const SYNC: SyncPolicy = SyncPolicy::Within(Duration::from_millis(100));
const FILE_BYTES: u64 = 64 << 20;

fn entry() -> Entry {
    Entry {
        request_id: "0123456789abcdef0123456789abcdef".into(),
        actor: "reader".to_owned(),
        client_ip: Some([10, 0, 0, 1].into()),
        peer_ip: Some([10, 0, 0, 1].into()),
        action: "secret.read".into(),
        target: "secret/team-1/service/1".to_owned(),
        outcome: "done".into(),
        status: Some(200),
    }
}

async fn write(audit: Audit, records: u64) {
    for _ in 0..records {
        audit.write_of_request(entry()).await.unwrap();
    }
}

/// How long `records` take that so many callers write.
fn took(runtime: &Runtime, audit: &Audit, callers: u64, records: u64) -> Duration {
    let each = records.div_ceil(callers);
    let began = Instant::now();
    runtime.block_on(async {
        let writing: Vec<_> = (0..callers)
            .map(|_| tokio::spawn(write(audit.clone(), each)))
            .collect();
        for written in writing {
            written.await.unwrap();
        }
    });
    // Whoever asks for fewer than there are callers gets the time that these take.
    began
        .elapsed()
        .mul_f64(records as f64 / (each * callers) as f64)
}

pub(crate) fn benches(criterion: &mut Criterion) {
    let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
    for callers in [1, 64] {
        let dir = tempfile::tempdir().unwrap();
        let audit = Audit::open(AuditConfig {
            dir: dir.path().to_owned(),
            node: "bench".to_owned(),
            sync: SYNC,
            file_bytes: FILE_BYTES,
            slow_write: SLOW_WRITE,
        })
        .unwrap();
        let mut group = criterion.benchmark_group("audit");
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("append/{callers}"), |bencher| {
            bencher.iter_custom(|records| took(&runtime, &audit, callers, records));
        });
        group.finish();
    }
}
