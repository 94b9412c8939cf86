//! Temporary folders that go when the harness goes, however it ends.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::Result;
use tempfile::TempDir;

/// A temporary folder: deleted on drop, and by a keeper of its own when the harness ends without dropping it.
#[derive(Debug)]
pub struct Folder {
    // Deleted first: then the keeper has nothing left to do.
    folder: TempDir,
    _keeper: Keeper,
}

/// A shell that waits for the end of its input, which is the harness's end, or the folder's.
#[derive(Debug)]
struct Keeper(Child);

impl Folder {
    /// A new folder whose name begins with `prefix`.
    ///
    /// # Errors
    /// The file system's.
    pub fn new(prefix: &str) -> Result<Folder> {
        // What still writes there dies at the same time, or a moment later.
        const KEEP: &str = "trap '' INT TERM; read -r _; until rm -rf \"$1\" 2>/dev/null; do sleep 0.1; done";
        let folder = tempfile::Builder::new().prefix(prefix).tempdir()?;
        let mut command = Command::new("sh");
        command.args(["-c", KEEP, "keeper"]).arg(folder.path());
        let keeper = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        Ok(Folder { folder, _keeper: Keeper(keeper) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // Whether it could be waited for or not, nothing is left to do.
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_goes_when_it_is_dropped_and_when_only_its_keeper_is_left() {
        let folder = Folder::new("towpath-folder-").unwrap();
        let path = folder.path().to_owned();
        std::fs::write(path.join("file"), "text").unwrap();
        drop(folder);
        assert!(!path.exists());

        let Folder { folder, _keeper: keeper } = Folder::new("towpath-folder-").unwrap();
        let path = folder.keep();
        std::fs::write(path.join("file"), "text").unwrap();
        drop(keeper);
        assert!(!path.exists());
    }
}
