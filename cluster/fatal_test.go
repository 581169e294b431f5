package cluster

const childVar = "POSTERN_CLUSTER_CHILD"

func child(string) int { return 1 }
