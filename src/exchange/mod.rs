//! One paid request, from plan to answer.
