mod scenarios;
mod version;
mod world;
