// Package declare hides the file in which an operator declares what there shall
// be: how it is written, read strictly with the place of every fault, put
// together from several files, and which files of secrets it names. It asks no
// node; what is declared goes to one through node/admin's client.
package declare
