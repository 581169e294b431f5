package main

import "context"

func startPostern(ctx context.Context, dir, bin string, prof bool) (*postfix, error) {
	return startPostfix(ctx, dir)
}
