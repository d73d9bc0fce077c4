//! Rules that an object must keep beyond being well formed (spec 04 part V).
