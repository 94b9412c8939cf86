//! What is wrong with a plan: every problem at once, each with its place and its fix.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ErrorKind;

/// One thing that is wrong, at one place of one file. Lines and columns count from 1; 0 means the whole file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The file's name, as it was given.
    pub file: String,
    /// The line.
    pub line: u64,
    /// The column, in characters.
    pub column: u64,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub fix: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}; fix: {}", self.file, self.line, self.column, self.message, self.fix)
    }
}

/// A plan that was refused, with every problem that was found, in the file's order. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanError {
    /// The problems.
    pub problems: Vec<Problem>,
}

impl PlanError {
    /// Always the caller: whoever wrote the plan.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Caller
    }
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for PlanError {}
