//! JavaScript values and their JSON forms.
