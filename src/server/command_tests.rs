//! Tests of the command line, on recorded help texts.
