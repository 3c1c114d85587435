// Runs the graphs of a bundle on the tensors of a dump, with ONNX Runtime alone, and prints the scores.
//
//   score_dump judge.yoj dump/1
//
// dump/1 is written by yoj-score --dump-inputs dump; docs/native.md says what is in it and how a host makes it.

#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace fs = std::filesystem;

// Array of a .npy file, in C order.
struct Array {
    ONNXTensorElementDataType type;
    std::vector<int64_t> shape;
    std::vector<char> bytes;

    // The elements of a file that must hold this type.
    template <typename T>
    std::vector<T> as(ONNXTensorElementDataType wanted, const char* name) const {
        if (type != wanted) throw std::runtime_error(std::string(name) + " holds numbers of another type");
        std::vector<T> values(bytes.size() / sizeof(T));
        if (!bytes.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
        return values;
    }
};

constexpr auto INT64 = ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
constexpr auto FLOAT32 = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;

size_t size_of(ONNXTensorElementDataType type) {
    switch (type) {
        case INT64: return 8;
        case FLOAT32: return 4;
        default: throw std::runtime_error("the graph has a tensor of a type that this example does not know");
    }
}

// Reads a .npy file. Its header is the text of a Python dict:
// {'descr': '<i8', 'fortran_order': False, 'shape': (1, 45), }
Array read_npy(const fs::path& file) {
    std::ifstream stream(file, std::ios::binary);
    std::vector<char> all{std::istreambuf_iterator<char>(stream), {}};
    auto refuse = [&](const char* why) { throw std::runtime_error(file.string() + " " + why); };
    if (all.size() < 10 || std::memcmp(all.data(), "\x93NUMPY\x01", 7) != 0) refuse("is no .npy file of version 1");
    const size_t begin = 10 + static_cast<uint8_t>(all[8]) + 256 * static_cast<uint8_t>(all[9]);
    if (all.size() < begin) refuse("is cut short");
    const std::string header(all.begin() + 10, all.begin() + begin);

    static const std::map<std::string, ONNXTensorElementDataType> types{{"<i8", INT64}, {"<f4", FLOAT32}};
    const size_t descr = header.find("'descr': '"), shape = header.find("'shape': (");
    if (descr == std::string::npos || shape == std::string::npos) refuse("has another header than dumps have");
    const auto type = types.find(header.substr(descr + 10, 3));
    if (type == types.end() || header.find("'fortran_order': False") == std::string::npos)
        refuse("holds neither int64 nor float32 in C order");

    Array array{type->second, {}, {all.begin() + begin, all.end()}};
    size_t elements = 1;
    for (const char* at = header.c_str() + shape + 10; *at && *at != ')';) {
        char* end;
        const int64_t size = std::strtoll(at, &end, 10);
        if (end == at) {  // a comma or a space
            ++at;
            continue;
        }
        array.shape.push_back(size);
        elements *= static_cast<size_t>(size);
        at = end;
    }
    if (elements * size_of(array.type) != array.bytes.size()) refuse("holds more or fewer numbers than its header says");
    return array;
}

// Runs one graph on the tensors of a folder. Returns its outputs by their names.
std::map<std::string, Array> run(Ort::Env& env, const fs::path& graph, const fs::path& inputs) {
    Ort::Session session(env, graph.c_str(), Ort::SessionOptions{});  // finds weights.data beside the graph
    const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    Ort::AllocatorWithDefaultOptions allocator;
    std::vector<std::string> in, out;
    for (size_t i = 0; i < session.GetInputCount(); ++i) in.push_back(session.GetInputNameAllocated(i, allocator).get());
    for (size_t i = 0; i < session.GetOutputCount(); ++i) out.push_back(session.GetOutputNameAllocated(i, allocator).get());

    std::vector<Array> arrays;  // ONNX Runtime reads them in place
    for (const auto& name : in) arrays.push_back(read_npy(inputs / (name + ".npy")));
    std::vector<Ort::Value> values;
    for (auto& array : arrays)
        values.push_back(Ort::Value::CreateTensor(
            memory, array.bytes.data(), array.bytes.size(), array.shape.data(), array.shape.size(), array.type));
    std::vector<const char*> in_names, out_names;
    for (const auto& name : in) in_names.push_back(name.c_str());
    for (const auto& name : out) out_names.push_back(name.c_str());
    auto results = session.Run(
        Ort::RunOptions{nullptr}, in_names.data(), values.data(), values.size(), out_names.data(), out_names.size());

    std::map<std::string, Array> returned;
    for (size_t i = 0; i < results.size(); ++i) {
        const auto info = results[i].GetTensorTypeAndShapeInfo();
        const auto* data = static_cast<const char*>(results[i].GetTensorRawData());
        const size_t size = info.GetElementCount() * size_of(info.GetElementType());
        returned[out[i]] = {info.GetElementType(), info.GetShape(), {data, data + size}};
    }
    return returned;
}

// Scores in the order in which the responses were given, from the scorer's output [k, M]: those of one row as they are,
// those of several rows centred on 0 in each row, and averaged.
std::vector<float> by_response(const Array& raw, const fs::path& request) {
    const auto rows = raw.as<float>(FLOAT32, "scores");
    const auto orders = read_npy(request / "orders.npy").as<int64_t>(INT64, "orders.npy");
    const auto copies = read_npy(request / "copies.npy").as<int64_t>(INT64, "copies.npy");
    if (raw.shape.size() != 2 || orders.size() != rows.size()) throw std::runtime_error("orders.npy fits other scores");
    const size_t k = raw.shape[0], m = raw.shape[1];
    std::vector<double> sums(m);
    for (size_t row = 0; row < k; ++row) {
        double mean = 0;
        for (size_t place = 0; place < m; ++place) mean += rows[row * m + place] / static_cast<double>(m);
        for (size_t place = 0; place < m; ++place)
            sums.at(orders[row * m + place]) += rows[row * m + place] - (k > 1 ? mean : 0);
    }
    std::vector<float> scores;
    for (const int64_t copy : copies) scores.push_back(static_cast<float>(sums.at(copy) / k));
    return scores;
}

int main(int count, char** words) try {
    if (count != 3) throw std::runtime_error("give a bundle and the folder of a request: score_dump judge.yoj dump/1");
    const fs::path bundle = words[1], request = words[2];
    Ort::Env env(ORT_LOGGING_LEVEL_WARNING, "score_dump");
    std::ifstream runs(request / "runs.txt");
    std::map<std::string, Array> outputs;
    for (std::string folder, graph; runs >> folder >> graph;) {
        outputs = run(env, bundle / graph, request / folder / "in");
        for (const auto& [name, array] : outputs) {
            const bool equal = array.bytes == read_npy(request / folder / "out" / (name + ".npy")).bytes;
            std::printf("%s: %s %s\n", graph.c_str(), name.c_str(), equal ? "equal, bit for bit" : "differs");
        }
    }
    if (!outputs.count("scores")) throw std::runtime_error((request / "runs.txt").string() + " names no scorer");

    const auto expected = read_npy(request / "scores.npy").as<float>(FLOAT32, "scores.npy");
    const auto scores = by_response(outputs["scores"], request);
    if (scores.size() != expected.size()) throw std::runtime_error("scores.npy has another number of scores");
    float most = 0;
    for (size_t n = 0; n < scores.size(); ++n) {
        std::printf("response %zu: %.9g\n", n, scores[n]);
        most = std::max(most, std::abs(scores[n] - expected[n]));
    }
    std::printf("largest difference from yoj-score: %.3g\n", most);
} catch (const std::exception& error) {  // ONNX Runtime's errors too
    std::fprintf(stderr, "score_dump: %s\n", error.what());
    return 1;
}
