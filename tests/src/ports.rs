//! Free TCP ports that two tests never share, also when they run in several processes.

use std::fs::{File, TryLockError};
use std::net::TcpListener;

use anyhow::{Context, Result, bail};
use towpath_env::Env;

/// Below the range the kernel takes for outgoing connections, so that none of those is in the way.
const FIRST: u16 = 20_000;
const COUNT: u16 = 10_000;

/// A port of 127.0.0.1, reserved until this value is dropped.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _reserved: File,
}

impl Port {
    /// Reserves a free port.
    ///
    /// # Errors
    /// When the folder of reservations cannot be written, or all ports are taken.
    pub fn reserve() -> Result<Port> {
        let folder = std::env::temp_dir().join("towpath-test-ports");
        std::fs::create_dir_all(&folder).context("folder of reserved ports")?;
        let start = (Env::real().random_u64() % u64::from(COUNT)) as u16;
        for step in 0..COUNT {
            let number = FIRST + (start + step) % COUNT;
            let file = File::create(folder.join(number.to_string())).context("reserve a port")?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(error)) => return Err(error).context("lock a reserved port"),
            }
            // Somebody outside the harness may listen there.
            if TcpListener::bind(("127.0.0.1", number)).is_ok() {
                return Ok(Port { number, _reserved: file });
            }
        }
        bail!("all ports from {FIRST} on are taken")
    }

    /// The port's number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_reservations_never_get_the_same_port() {
        let ports: Vec<Port> = (0..50).map(|_| Port::reserve().unwrap()).collect();
        let mut numbers: Vec<u16> = ports.iter().map(Port::number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 50);
    }
}
