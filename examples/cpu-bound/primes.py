"""What the processes run. They import this file alone, so they start quickly."""


def count_primes(below: int) -> int:
    is_prime = bytearray([1]) * below
    is_prime[:2] = bytes(min(below, 2))
    for number in range(2, int(below**0.5) + 1):
        if is_prime[number]:
            is_prime[number * number :: number] = bytes(len(range(number * number, below, number)))
    return sum(is_prime)
