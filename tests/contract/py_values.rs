//! Python values and their JSON forms.
