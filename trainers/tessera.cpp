// The program: `tessera COMMAND CONFIG [--key=value …]`.
int main() { return 0; }
