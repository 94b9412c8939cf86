//! What the device itself takes: write and `fdatasync` at the pace of a load, in a file as a write-ahead log has it.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use towpath_env::Env;

/// Written once with zeros, so that a later `fdatasync` writes data and no file's length.
const FILE_BYTES: usize = 64 << 20;

/// Milliseconds of each write with its `fdatasync`. A device that is slower than the pace is asked without a pause:
/// unlike a broker's, its queue is not counted. Blocks.
pub fn syncs_ms(folder: &Path, bytes: usize, mb_s: f64, length: Duration) -> Result<Vec<f64>> {
    let path = folder.join("device");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(&path)?;
    let zeros = vec![0; 1 << 20];
    for _ in 0..FILE_BYTES / zeros.len() {
        file.write_all(&zeros)?;
    }
    file.sync_all()?;
    let (block, env, mut took) = (vec![7; bytes], Env::real(), Vec::new());
    let interval = Duration::from_secs_f64(bytes as f64 / 1e6 / mb_s);
    for number in 0.. {
        let start = env.elapsed();
        if start >= length {
            break;
        }
        let place = number as usize * bytes % (FILE_BYTES - bytes);
        file.write_all_at(&block, place as u64)?;
        file.sync_data()?;
        took.push((env.elapsed() - start).as_secs_f64() * 1e3);
        if let Some(wait) = interval.mul_f64(f64::from(number + 1)).checked_sub(env.elapsed()) {
            thread::sleep(wait);
        }
    }
    std::fs::remove_file(&path)?;
    Ok(took)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_asked_at_the_pace_and_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let took = syncs_ms(folder.path(), 4096, 0.04096, Duration::from_millis(500)).unwrap();
        assert!((1..=6).contains(&took.len()), "{} in half a second at 10 a second", took.len());
        assert!(took.iter().all(|&took| took > 0.0));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
