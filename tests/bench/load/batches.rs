//! Batches made once: record values as event streams have them, not compressed.

use anyhow::Result;
use bytes::Bytes;
use towpath_env::Env;
use towpath_wire::batch::BatchBuilder;

/// Different batches, so that no cache of a processor holds all of the load.
const DIFFERENT: usize = 64;

/// Batches of one shape.
#[derive(Clone, Debug)]
pub struct Batches {
    batches: Vec<Bytes>,
    /// Bytes of values in each: what throughput counts.
    pub value_bytes: u64,
}

impl Batches {
    /// Batches of records whose values are `record_bytes` long, as many as `batch_bytes` hold, but at least one.
    pub fn new(record_bytes: usize, batch_bytes: usize) -> Result<Batches> {
        let env = Env::real();
        let records = (batch_bytes / record_bytes).max(1);
        // Of records of a megabyte each, fewer will do.
        let different = DIFFERENT.min((16 << 20) / (records * record_bytes)).max(2);
        let batches: Result<Vec<Bytes>> =
            (0..different).map(|_| batch(&env, records, record_bytes)).collect();
        let value_bytes = (records * record_bytes) as u64;
        Ok(Batches { batches: batches?, value_bytes })
    }

    /// The batch for request `number`.
    pub fn get(&self, number: u64) -> Bytes {
        self.batches[(number % self.batches.len() as u64) as usize].clone()
    }
}

fn batch(env: &Env, records: usize, record_bytes: usize) -> Result<Bytes> {
    let mut builder = BatchBuilder::new(0);
    let now_ms = env.now_ms();
    for _ in 0..records {
        builder.append(now_ms, None, Some(&value(env, record_bytes)), &[]);
    }
    Ok(builder.build()?.freeze())
}

fn value(env: &Env, bytes: usize) -> Vec<u8> {
    let mut text = String::with_capacity(bytes + 48);
    while text.len() < bytes {
        text += &format!("{{\"product\":\"{:016x}\",\"seen\":true}},", env.random_u64());
    }
    text.truncate(bytes);
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use towpath_wire::batch::Batch;

    use super::*;

    #[test]
    fn a_batch_holds_as_many_records_as_fit_and_at_least_one() {
        let small = Batches::new(500, 128 << 10).unwrap();
        assert_eq!(small.value_bytes, 131_000);
        let view = Batch::new(small.get(3)).unwrap();
        assert_eq!(view.record_count(), 262);
        view.check_crc().unwrap();
        assert_ne!(small.get(0), small.get(1));
        let large = Batches::new(1_000_000, 128 << 10).unwrap();
        let view = Batch::new(large.get(0)).unwrap();
        assert_eq!((view.record_count(), large.value_bytes), (1, 1_000_000));
    }
}
