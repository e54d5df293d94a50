//! `Debug` for types that hold what no log may show: headers, URLs, prompts, pictures, text of requests and answers.

/// Implements `Debug` for a struct: only the fields named here show, and `..` stands for the rest.
///
/// A derived `Debug` shows every field, so one `{:?}` far away would print a client's key or prompt. The test
/// `no_type_shows_what_it_holds` (`tests/it/secrets.rs`) finds derived ones.
macro_rules! opaque {
    ($type:ty { $($field:ident),* $(,)? }) => {
        impl ::std::fmt::Debug for $type {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.debug_struct(stringify!($type))$(.field(stringify!($field), &self.$field))*.finish_non_exhaustive()
            }
        }
    };
}

pub(crate) use opaque;
