// Command postern is the whole appliance in one static binary.
package main

func main() {}
