//! What the pods of every Proxy have applied, by asking them.

mod report;

pub use report::{
    ErrorKind, InputError, InputReport, InputState, PodReport, ReceiveBuffer, Said, Silence, Why,
};
