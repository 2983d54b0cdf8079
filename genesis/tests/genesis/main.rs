//! Tests of the genesis document through its public interface.

mod helpers;
mod noise;
mod refusals;
mod round_trip;
mod samples;
mod support;
mod toml;
