//! Decorators of TypeScript and JavaScript: standard ones, and legacy ones by tsconfig.
