//! Where each leader epoch begins in a log (Kafka's `LeaderEpochFileCache`).

/// Epochs and their first offsets, both ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LeaderEpochs(Vec<(i32, i64)>);

impl LeaderEpochs {
    /// What a snapshot held.
    pub fn restore(starts: Vec<(i32, i64)>) -> LeaderEpochs {
        LeaderEpochs(starts)
    }

    /// The epochs with their first offsets.
    pub fn starts(&self) -> &[(i32, i64)] {
        &self.0
    }

    /// A batch of `epoch` was appended at `offset`. Negative epochs say nothing.
    pub fn written(&mut self, epoch: i32, offset: i64) {
        if epoch >= 0 && self.0.last().is_none_or(|(last, _)| *last < epoch) {
            self.0.push((epoch, offset));
        }
    }

    /// Forgets epochs that ended before the log start; the one that covers it begins there.
    pub fn drop_before(&mut self, log_start: i64) {
        let covering = self.0.partition_point(|(_, start)| *start <= log_start);
        self.0.drain(..covering.saturating_sub(1));
        if let Some(first) = self.0.first_mut() {
            first.1 = first.1.max(log_start);
        }
    }

    /// The largest epoch not above `epoch`, and where it ended; `(-1, -1)` when unknown (KIP-101, KIP-279).
    pub fn end_of(&self, epoch: i32, log_end: i64) -> (i32, i64) {
        let Some(&(latest, _)) = self.0.last() else { return (-1, -1) };
        if epoch == latest {
            return (latest, log_end);
        }
        if epoch < 0 || epoch > latest {
            return (-1, -1);
        }
        let after = self.0.partition_point(|(known, _)| *known <= epoch);
        match after.checked_sub(1) {
            Some(index) => (self.0[index].0, self.0[after].1),
            // Older than everything known: it ended where the first known one began.
            None => (epoch, self.0[0].1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_ends_where_the_next_begins() {
        let mut epochs = LeaderEpochs::default();
        assert_eq!(epochs.end_of(0, 0), (-1, -1));
        for (epoch, offset) in [(2, 0), (2, 5), (4, 10), (7, 30)] {
            epochs.written(epoch, offset);
        }
        assert_eq!(epochs.end_of(7, 42), (7, 42));
        assert_eq!(epochs.end_of(5, 42), (4, 30));
        assert_eq!(epochs.end_of(3, 42), (2, 10));
        assert_eq!(epochs.end_of(1, 42), (1, 0));
        assert_eq!(epochs.end_of(8, 42), (-1, -1));
    }

    #[test]
    fn the_log_start_takes_old_epochs_with_it() {
        let mut epochs = LeaderEpochs::restore(vec![(1, 0), (2, 10), (3, 20)]);
        epochs.drop_before(15);
        assert_eq!(epochs.starts(), [(2, 15), (3, 20)]);
        epochs.drop_before(20);
        assert_eq!(epochs.starts(), [(3, 20)]);
    }
}
