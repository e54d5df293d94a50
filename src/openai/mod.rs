//! Wire shapes of OpenAI's API.
