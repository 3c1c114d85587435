// Scores answers about a picture in memory: judge BUNDLE PICTURE.ppm PROMPT RESPONSE...
// PPM (P6, 8 bits) stands for whatever a camera or decoder leaves in memory.

#include <cstdio>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include <yoj.hpp>

struct Picture {
    std::vector<char> pixels;
    int width = 0, height = 0;

    explicit Picture(const char *path) {
        std::ifstream file(path, std::ios::binary);
        std::string magic;
        int most = 0;
        if (!(file >> magic >> width >> height >> most) || magic != "P6" || most != 255 || width < 1 || height < 1)
            throw std::runtime_error(std::string(path) + " is no PPM file of 8 bits.");
        file.get();  // the one blank before the pixels
        pixels.resize(std::size_t(3) * width * height);
        if (!file.read(pixels.data(), static_cast<std::streamsize>(pixels.size())))
            throw std::runtime_error(std::string(path) + " ends before its last pixel.");
    }
    yoj_image view() const {
        return {reinterpret_cast<const std::uint8_t *>(pixels.data()), width, height, std::int64_t(3) * width};
    }
};

int main(int argc, char **argv) try {
    if (argc < 5) {
        std::cerr << "usage: " << argv[0] << " BUNDLE PICTURE.ppm PROMPT RESPONSE...\n";
        return 2;
    }
    const yoj::Scorer scorer(argv[1]);
    const Picture picture(argv[2]);
    const std::vector<std::string> responses(argv + 4, argv + argc);
    const yoj::Scores found = scorer.score(argv[3], responses, {picture.view()});
    for (std::size_t k = 0; k < responses.size(); ++k)
        std::printf("%.9g %.9g %s%s\n", found.scores[k], found.probabilities[k], responses[k].c_str(),
                    k == found.best ? " (best)" : "");
} catch (const yoj::Error &error) {
    std::cerr << error.kind() << " (" << error.code() << "): " << error.what() << '\n';
    return 1;
} catch (const std::exception &error) {
    std::cerr << error.what() << '\n';
    return 1;
}
