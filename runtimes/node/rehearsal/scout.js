// What V8 has compiled once it keeps: the scout runs a program that no rehearsal in the zygote has
// run.
6 * 7;
