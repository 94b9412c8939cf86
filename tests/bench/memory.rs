//! Peaks of resident memory, and the page cache.

use std::fs::OpenOptions;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use towpath_tests::process::output_of;

/// Left free by [`fill`]: about what the kernel keeps free itself.
const FREE_BYTES: u64 = 128 << 20;
/// A disk with gigabytes to write.
const SYNC_MAX: Duration = Duration::from_secs(300);

/// Begins to watch for a new peak (`proc(5)`, `clear_refs`).
pub fn reset_peak(process_id: u32) -> Result<()> {
    let path = format!("/proc/{process_id}/clear_refs");
    std::fs::write(&path, "5").with_context(|| format!("write {path}"))
}

/// The peak of resident memory since then, in MB (10^6 bytes).
pub fn peak_mb(process_id: u32) -> Result<f64> {
    let path = format!("/proc/{process_id}/status");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    parse_peak_mb(&text).with_context(|| format!("{path} has no VmHWM"))
}

fn parse_peak_mb(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<f64>().ok()? * 1024.0 / 1e6)
}

/// Writes what the kernel holds back: what one broker left behind is not written while the next one is measured.
pub async fn sync(folder: &Path) -> Result<()> {
    let mut command = Command::new("sync");
    command.arg("-f").arg(folder);
    output_of("sync", command, SYNC_MAX).await.map(drop)
}

/// What comes before each load: the disk has what others left, and the page cache fills the memory.
pub async fn settle(folder: &Path) -> Result<()> {
    sync(folder).await?;
    let file = folder.join("holes");
    tokio::task::spawn_blocking(move || fill(&file)).await.context("the thread that fills the page cache")?
}

/// Fills what memory is free with page cache, as it is on a machine that has been up for a while: reads as much of a
/// file of holes, which grows each time. On a virtual machine the host takes back what is free, and the first touch of
/// each page then costs more than everything that is measured here. Blocks.
fn fill(path: &Path) -> Result<()> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").context("read /proc/meminfo")?;
    let free = parse_free_bytes(&meminfo).context("/proc/meminfo has no MemFree")?.saturating_sub(FREE_BYTES);
    let mut file = OpenOptions::new().create(true).append(true).read(true).open(path)?;
    let start = file.metadata()?.len();
    file.set_len(start + free).with_context(|| format!("make {} larger", path.display()))?;
    file.seek(SeekFrom::Start(start))?;
    std::io::copy(&mut BufReader::with_capacity(1 << 20, file).take(free), &mut std::io::sink())?;
    Ok(())
}

fn parse_free_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemFree:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// Writes all files under a folder and takes them out of the page cache, as far as the kernel follows the advice.
pub async fn drop_cached(folder: &Path) -> Result<()> {
    sync(folder).await?;
    let mut command = Command::new("find");
    // A broker may delete a file meanwhile; nothing is cached of it then.
    let advise = "for file; do dd if=\"$file\" iflag=nocache count=0 status=none 2>/dev/null || :; done";
    command.arg(folder).args(["-type", "f", "-size", "+15k", "-exec", "sh", "-c", advise, "sh", "{}", "+"]);
    output_of("find", command, SYNC_MAX).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_read_in_megabytes() {
        let status = "Name:\tx\nVmPeak:\t 9 kB\nVmHWM:\t  200000 kB\nVmRSS:\t 100 kB\n";
        assert_eq!(parse_peak_mb(status), Some(204.8));
        assert_eq!(parse_peak_mb("Name:\tx\n"), None);
    }

    #[test]
    fn free_memory_is_read_in_bytes() {
        assert_eq!(parse_free_bytes("MemTotal: 9 kB\nMemFree:   200 kB\n"), Some(204_800));
        assert_eq!(parse_free_bytes("MemTotal: 9 kB\n"), None);
    }
}
