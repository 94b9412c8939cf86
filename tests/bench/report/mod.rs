//! What people see of a run: lines and tables on the terminal ([`text`]), a page ([`page`]), and plots ([`ratios`],
//! [`latency`], drawn with [`svg`]). All of it is made from the results alone.

pub mod latency;
pub mod page;
pub mod ratios;
pub mod scale;
pub mod svg;
pub mod text;

use std::path::Path;

use anyhow::{Context, Result};

use super::results::{Run, Who};

/// A plot's document.
type Draw = fn(&Run) -> String;

/// Plots and their file names.
const PLOTS: [(&str, Draw); 2] = [("ratios.svg", ratios::draw), ("latency.svg", latency::draw)];

/// Draws all plots into a folder.
pub fn draw(run: &Run, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    for (name, draw) in PLOTS {
        let path = folder.join(name);
        std::fs::write(&path, draw(run)).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

/// The same colour everywhere, told apart by people who do not see red and green as well.
fn colour(who: Who) -> &'static str {
    match who {
        Who::Towpath => "#0072b2",
        Who::Kafka => "#d55e00",
        Who::KafkaFsync => "#e69f00",
        Who::Device => "#7f7f7f",
    }
}
